from powmix.data import options


def mistakes(dataset):
    return options.mistakes(dataset)


def convention_of(name, task):
    if task != "regression":
        return task
    return {"sims": "sims", "mosi": "mosi", "mosei": "mosi", "synthetic": "mosi"}.get(name, "regression")


def task_of(dataset):
    return "regression"
