"""Who runs next, and where: proposals, the study, the executor and the command line."""
