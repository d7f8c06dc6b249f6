import pytest

from search_spaces.architecture import save_architecture
from search_spaces.errors import ConfigError
from search_spaces.zoo import list_models, load_zoo, resolve_architecture, zoo_names


def test_the_published_family_and_its_baselines_are_built_in():
    assert zoo_names() == (
        "scrfd_0.5g",
        "scrfd_1g",
        "scrfd_2.5g",
        "scrfd_10g",
        "scrfd_34g",
        "scrfd_0.5g_kps",
        "scrfd_2.5g_kps",
        "scrfd_10g_kps",
        "resnet_2.5g",
        "resnet_10g",
        "resnet_34g",
        "mobilenet_0.5g",
        "mobilenet_1g",
    )


def test_every_file_has_its_name_and_a_network_of_its_own():
    assert all(load_zoo(name).name == name for name in zoo_names())
    assert len({load_zoo(name).content_hash for name in zoo_names()}) == len(zoo_names())


def test_unknown_names_suggest_similar_ones_or_list_all():
    with pytest.raises(ConfigError, match=r"did you mean scrfd_2\.5g"):
        resolve_architecture("scrfd_2.5")
    with pytest.raises(ConfigError, match=r"did you mean scrfd_10g"):
        load_zoo("scrfd_10gg")
    with pytest.raises(ConfigError, match=r"built in are scrfd_0\.5g, .*mobilenet_1g"):
        resolve_architecture("x" * 5000)


def test_names_and_paths_of_files_are_resolved(tmp_path):
    save_architecture(load_zoo("scrfd_1g"), tmp_path / "mine.yaml")
    assert resolve_architecture(str(tmp_path / "mine.yaml")) == load_zoo("scrfd_1g")
    assert resolve_architecture("scrfd_1g") == load_zoo("scrfd_1g")
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        resolve_architecture(str(tmp_path / "none.yaml"))


def test_models_are_listed_with_their_cost_and_published_aps():
    models = {model.name: model for model in list_models()}
    assert tuple(models) == zoo_names()
    small = models["scrfd_2.5g_kps"]
    assert (small.block, small.budget, small.keypoints) == ("basic", 2_500_000_000, 5)
    assert (small.params, small.hash) == (819_809, load_zoo(small.name).content_hash)
    assert (small.easy, small.medium, small.hard) == (0.9380, 0.9202, 0.7713)
    assert (models["scrfd_2.5g"].keypoints, models["scrfd_2.5g"].flops) == (0, 2_521_708_800)
    assert [name for name, model in models.items() if model.hard is None] == ["mobilenet_1g"]


def test_published_sizes_are_those_of_the_built_in_architectures():
    rounded = {model.name: round(model.params, -4) for model in list_models()}
    assert (rounded["scrfd_2.5g_kps"], rounded["scrfd_10g_kps"]) == (820_000, 4_230_000)
    assert (rounded["scrfd_34g"], rounded["resnet_10g"]) == (9_800_000, 6_850_000)
