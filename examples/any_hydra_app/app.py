# A Hydra application that knows nothing of powmix but the one call `report`, and it works without that call, too.
#   python app.py rate=0.05                 one descent
#   python app.py -m +search=descent        a search (conf/search/descent.yaml); started again, it continues or shares
import time

import hydra

from powmix.search import report


@hydra.main(config_path="conf", config_name="config")
def descend(config) -> float:
    """Gradient descent with momentum down a long valley; returns the height where it ends."""
    x, y, dx, dy = 5.0, 1.0, 0.0, 0.0
    for step in range(config.steps):
        dx = config.momentum * dx - config.rate * 2 * x
        dy = config.momentum * dy - config.rate * 50 * y
        x, y = x + dx, y + dy
        height = x * x + 25 * y * y
        report(step, height)  # the search may end the job here
        time.sleep(config.seconds)
    return height


if __name__ == "__main__":
    descend()
