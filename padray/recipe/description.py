"""What was found in a dataset and what becomes of it, in words: for the terminal and the head of the settings file."""

from padray.data.layouts import locate
from padray.data.survey import Survey
from padray.machine.files import shown
from padray.recipe.scale import Plan


def samples(survey: Survey) -> str:
    """`1,591 training and 397 test samples: images of 3x32x32`."""
    return f"{sum(survey.counts):,} training and {survey.test:,} test samples: {_content(survey)}"


def _content(survey: Survey) -> str:
    channels, height, width = survey.shape
    if survey.content == "table":
        return f"a table of {channels} columns beside the labels"
    if survey.content == "series":
        return f"series of {channels} channel{'s' * (channels > 1)} and {width} steps"
    size = f"{channels}x{height}x{width}"
    kinds, low, high = survey.found_sizes
    if survey.settings.size is None or (low, high) == (height, width):
        return f"images of {size}"
    sizes = f", {kinds} sizes" * (kinds > 1)
    return f"images with sides of {low}{f' to {high}' * (low < high)} pixels{sizes}, brought to {size} (data.size)"


def remarks(plan: Plan) -> list[str]:
    """What was taken for what, and what is left out, as sentences without their stops; most data need none of it."""
    survey, settings = plan.survey, plan.survey.settings
    place = shown(survey.test_place)
    said = []
    if settings.label_column is not None:
        said.append(f"the labels are the column {shown(settings.label_column)}")
    if locate(settings).is_whole:
        said.append(f"the data have no test split of their own: it is {place}, and only the proof reads it")
    elif place.removeprefix("data/").startswith("val"):
        said.append(f"{place} serves as the test split")
    most = plan.data.limit_per_class
    if most is not None and (read := sum(min(count, most) for count in survey.counts)) < sum(survey.counts):
        said.append(
            f"{read:,} of the {sum(survey.counts):,} training samples are read, the first {most:,} of each class "
            f"(data.limit_per_class)"
        )
    return said
