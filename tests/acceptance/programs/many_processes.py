"""One ``@remote`` function called from this process and from spawned ones."""

import multiprocessing

from easyremote import remote


@remote
def add(a: int, b: int) -> int:
    raise AssertionError("runs on the node only")


def double(n: int) -> int:
    return add(n, n)


if __name__ == "__main__":
    own = add(1, 2)  # connected before the others start
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(double, range(4)))
    print("own process as well:", own)
