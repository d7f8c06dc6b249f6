"""What happens to one candidate: data, training, evaluation, export."""
