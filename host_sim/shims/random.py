"""`random` of MicroPython, fed by the board, so that a seed replays a run on either VM."""

from _board import call


def getrandbits(n):
    return call("machine.random_bits", n)


def seed(n=None):
    pass


def randrange(start, stop=None, step=1):
    if stop is None:
        start, stop = 0, start
    n = (stop - start + step - 1) // step
    if n <= 0:
        raise ValueError
    return start + step * (getrandbits(32) % n)


def randint(a, b):
    return randrange(a, b + 1)


def random():
    return getrandbits(24) / (1 << 24)


def uniform(a, b):
    return a + (b - a) * random()


def choice(sequence):
    if not sequence:
        raise IndexError
    return sequence[randrange(len(sequence))]
