"""Random number generators of runs and of single texts.

A run uses one of three generators, whose state can be saved: `PythonRandom`, Python's Mersenne Twister
(`microgpt`); `Lcg`, a 64-bit linear congruential generator (`oxidized`); `Xoshiro128Plus`, a 32-bit xorshift
generator (`zeroclaw`). The last two compute derived numbers in single precision. A `Stream` samples one text:
streams of one seed are independent, so a text does not depend on the number of texts. Standard library only.

These are the definitions. cpp/random.cpp gives the same numbers faster; long series come from it where it is
installed.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import MutableSequence, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from motegpt.config.fields import checked_seed
from motegpt.config.text import concise, shortened
from motegpt.errors import RunFolderError, SettingError
from motegpt.model import core
from motegpt.model.precision import single

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MASK32 = 0xFFFF_FFFF
MASK64 = 0xFFFF_FFFF_FFFF_FFFF
FEW = 8  # states that are computed faster one by one than as an array


def splitmix64(seed: int, index: Any) -> Any:
    """Output index + 1 of SplitMix64 (Steele, Lea and Flood, 2014) with seed `seed`: 64 bits.

    index: an int, or a NumPy array of uint64 with the same results.
    """
    z = ((seed & MASK64) + (index + 1) * 0x9E37_79B9_7F4A_7C15) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & MASK64
    return z ^ (z >> 31)


def lcg_step(number: int) -> int:
    """a · number + c (mod 2^64) with Knuth's MMIX constants (TAOCP 2, section 3.3.4, table 1, line 26)."""
    return (number * 6364136223846793005 + 1442695040888963407) & MASK64


def box_muller(u1: float, u2: float) -> tuple[float, float]:
    """√(-2 ln u1) and cos(2π u2), whose product is normal (Box and Muller, 1958), in single precision.

    Each operation is computed in double precision and rounded once, which for + - * / and the square root
    gives exactly the single-precision result.
    """
    radius = single(math.sqrt(single(-2.0 * single(math.log(u1)))))
    return radius, single(math.cos(single(single(2.0 * math.pi) * u2)))


class Rng(ABC):
    """A random number generator. The same seed gives the same numbers on every machine."""

    @abstractmethod
    def uniform(self) -> float:
        """A number in [0, 1), or 1 where single precision rounds up to it."""

    def categorical(self, weights: Sequence[float]) -> int:
        """Index i with probability weights[i] / sum(weights), by inverse-CDF sampling."""
        cumulative = list(accumulate(weights))
        threshold = self.uniform() * cumulative[-1]
        return next((i for i, edge in enumerate(cumulative) if threshold < edge), len(weights) - 1)


class Stream(Rng):
    """The generator of one text: number <- a · number + c (mod 2^64), output the high 53 bits."""

    def __init__(self, number: int) -> None:
        self.number = number & MASK64

    @classmethod
    def of(cls, seed: int, index: int) -> Stream:
        """The generator of text `index`; adjacent indices have unrelated initial states."""
        return cls(splitmix64(seed, index))

    def uniform(self) -> float:
        self.number = lcg_step(self.number)
        return (self.number >> 11) * 2.0**-53


class Streams(Sequence[Stream]):
    """The generators of the texts first … first + n - 1 of a seed, each made when it is asked for."""

    def __init__(self, seed: int, first: int, n: int) -> None:
        self._seed, self._indices = seed, range(first, first + n)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, i: Any) -> Any:
        found = self._indices[i]
        if isinstance(found, range):
            return Streams(self._seed, found.start, len(found))
        return Stream.of(self._seed, found)

    def numbers(self) -> NDArray[np.uint64]:
        """The state of each (n)."""
        import numpy as np

        if len(self) < FEW:
            return np.array([splitmix64(self._seed, i) for i in self._indices], np.uint64)
        indices = np.arange(self._indices.start, self._indices.stop, dtype=np.uint64)
        found: NDArray[np.uint64] = splitmix64(self._seed, indices)
        return found


def numbers_of(rngs: Sequence[Stream]) -> NDArray[np.uint64]:
    """The states (n) of generators."""
    import numpy as np

    if isinstance(rngs, Streams):
        return rngs.numbers()
    return np.array([rng.number for rng in rngs], np.uint64)


def set_numbers(rngs: Sequence[Stream], states: NDArray[np.uint64], first: int = 0) -> None:
    """Let generators from `first` on go on from these states; those of Streams begin anew each time."""
    if not isinstance(rngs, Streams):
        for i, state in enumerate(states.tolist(), first):
            rngs[i].number = state


class RunRng(Rng):
    """The generator of a run: shuffles the documents, then initializes the weights, then samples."""

    name: ClassVar[str]

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"state": self.state()})

    @abstractmethod
    def gauss(self, mean: float, std: float) -> float:
        """A number from the normal distribution."""

    @abstractmethod
    def state(self) -> list[Any]:
        """The state as JSON values."""

    @abstractmethod
    def restore(self, state: Sequence[Any]) -> None:
        """Restore a state from `state()`; RunFolderError if it is not a state of this generator."""

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Permute in place: Fisher-Yates, from the last item down (Knuth, TAOCP 2, algorithm 3.4.2 P)."""
        for i in range(len(items) - 1, 0, -1):
            j = self._below(i + 1)
            items[i], items[j] = items[j], items[i]

    def permutation(self, n: int) -> array[int]:
        """0 … n - 1, shuffled."""
        order = array("I", range(n))
        if (compiled := self._compiled()) is None:
            self.shuffle(order)
        else:
            compiled.shuffle(order)
            self._advance_to(compiled)
        return order

    def gauss_array(self, mean: float, std: float, n: int) -> array[float]:
        """The next n numbers of `gauss`."""
        if (compiled := self._compiled()) is None:
            return array("d", [self.gauss(mean, std) for _ in range(n)])
        values = array("d", [0.0]) * n
        compiled.fill_gauss(mean, std, values)
        self._advance_to(compiled)
        return values

    def _compiled(self) -> Any:
        """The same generator in the same state, compiled; None where it is not installed."""
        numbers = core.numbers()
        return None if numbers is None else numbers.Rng(self.name, self.state())

    def _advance_to(self, compiled: Any) -> None:
        """Continue from the state of a compiled generator."""
        self.restore(compiled.state())

    def _below(self, n: int) -> int:
        """An integer in 0 … n - 1."""
        return int(self.uniform() * n)


class PythonRandom(RunRng):
    """Python's `random.Random` (MT19937) with its gauss, shuffle and choices.

    Its state of 625 words stays in the compiled generator until Python's is asked for a number.
    """

    name = "python"

    def __init__(self, seed: int) -> None:
        self._python = random.Random(seed)
        self._ahead: Any = None

    def __getstate__(self) -> list[Any]:
        """Of a copy or a pickle, which the compiled generator has no part in."""
        return self.state()

    def __setstate__(self, state: list[Any]) -> None:
        PythonRandom.__init__(self, 0)
        self.restore(state)

    @property
    def _random(self) -> random.Random:
        if self._ahead is not None:
            self.restore(self._ahead.state())
        return self._python

    def _compiled(self) -> Any:
        return super()._compiled() if self._ahead is None else self._ahead

    def _advance_to(self, compiled: Any) -> None:
        self._ahead = compiled

    def uniform(self) -> float:
        return self._random.random()

    def gauss(self, mean: float, std: float) -> float:
        return self._random.gauss(mean, std)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        self._random.shuffle(items)

    def categorical(self, weights: Sequence[float]) -> int:
        return self._random.choices(range(len(weights)), weights)[0]

    def state(self) -> list[Any]:
        if self._ahead is not None:
            return list(self._ahead.state())
        version, words, gauss_next = self._python.getstate()
        return [version, list(words), gauss_next]

    def restore(self, state: Sequence[Any]) -> None:
        try:
            version, words, gauss_next = state
            if gauss_next is not None:
                gauss_next = float(gauss_next)
            self._python.setstate((version, tuple(words), gauss_next))
            self._ahead = None
        except (TypeError, ValueError, OverflowError) as error:
            raise _not_a_state(self.name) from error


class Lcg(RunRng):
    """The generator of Oxidized-GPT: the recurrence of `lcg_step`, with the seed as initial state.

    Outputs the high 32 bits as a fraction in single precision; the shuffle uses remainders.
    """

    name = "lcg"

    def __init__(self, seed: int) -> None:
        self._number = seed & MASK64

    def word(self) -> int:
        """The next 64 bits."""
        self._number = lcg_step(self._number)
        return self._number

    def uniform(self) -> float:
        """Oxidized-GPT divides by 2^32 - 1, which rounds to 2^32 in single precision."""
        return single(self.word() >> 32) * 2.0**-32

    def gauss(self, mean: float, std: float) -> float:
        """Uses two draws. u1 is at least 2^-32; Oxidized-GPT takes the logarithm of 0 once in 2^32 draws."""
        radius, cosine = box_muller(max(self.uniform(), 2.0**-32), self.uniform())
        return single(mean + single(single(radius * cosine) * single(std)))

    def _below(self, n: int) -> int:
        return self.word() % n

    def state(self) -> list[Any]:
        return [self._number]

    def restore(self, state: Sequence[Any]) -> None:
        if len(state) != 1 or not _are_words(state, MASK64):
            raise _not_a_state(self.name)
        self._number = state[0]


class Xoshiro128Plus(RunRng):
    """xoshiro128+ (Blackman and Vigna, 2018), seeded and rounded as in zeroclawgpt."""

    name = "xoshiro128+"

    def __init__(self, seed: int) -> None:
        low, high = seed & MASK32, (seed >> 32) & MASK32
        self._words = [low ^ 0xDEAD_BEEF, high ^ 0xCAFE_BABE, (low + 1) & MASK32, (high + 1) & MASK32]

    def word(self) -> int:
        """The next 32 bits."""
        s0, s1, s2, s3 = self._words
        result = (s0 + s3) & MASK32
        t = s1 << 9 & MASK32
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = (s3 << 11 | s3 >> 21) & MASK32
        self._words = [s0, s1, s2, s3]
        return result

    def uniform(self) -> float:
        return self.word() * 2.0**-32

    def gauss(self, mean: float, std: float) -> float:
        """Uses two draws. In single precision 2^32 + 1 and 2^32 - 1 both round to 2^32."""
        u1 = single(single(single(self.word()) + 1.0) / 2.0**32)
        u2 = single(single(self.word()) / 2.0**32)
        radius, cosine = box_muller(u1, u2)
        return single(mean + single(single(single(std) * radius) * cosine))

    def categorical(self, weights: Sequence[float]) -> int:
        """Inverse-CDF sampling as in zeroclawgpt: subtract weights until the remainder is not positive."""
        total = 0.0
        for weight in weights:
            total = single(total + single(weight))
        remainder = single(single(single(self.word()) / 2.0**32) * total)
        for index, weight in enumerate(weights):
            remainder = single(remainder - single(weight))
            if remainder <= 0.0:
                return index
        return len(weights) - 1

    def state(self) -> list[Any]:
        return list(self._words)

    def restore(self, state: Sequence[Any]) -> None:
        if len(state) != 4 or not _are_words(state, MASK32) or not any(state):
            raise _not_a_state(self.name)
        self._words = list(state)


GENERATORS: dict[str, type[PythonRandom | Lcg | Xoshiro128Plus]] = {
    generator.name: generator for generator in (PythonRandom, Lcg, Xoshiro128Plus)
}


def make_rng(name: str, seed: int) -> RunRng:
    """A newly seeded generator; SettingError for an unknown name or an invalid seed."""
    if not isinstance(name, str) or name not in GENERATORS:
        raise SettingError(f"rng: expected one of {', '.join(GENERATORS)}, got {shortened(name)}")
    return GENERATORS[name](checked_seed(seed))


def _are_words(values: Sequence[Any], largest: int) -> bool:
    return all(type(value) is int and 0 <= value <= largest for value in values)


def _not_a_state(name: str) -> RunFolderError:
    return RunFolderError(f"rng: expected a saved state of the generator {name!r}; the file was changed")
