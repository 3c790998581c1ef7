"""Operations that take a chance and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from streamload.transforms.chain import Chain, Where
from streamload.transforms.operations.arguments import chance_of


@dataclass(frozen=True, slots=True)
class ByChance(ABC):
    """A base for operations that draw nothing but for which records they are done."""

    p: float = 0.5

    def __post_init__(self) -> None:
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        where = chain.chance(self.p)
        chain.note(where)
        self.add(chain, where)

    @abstractmethod
    def add(self, chain: Chain, where: Where) -> None:
        """Add what it does to the chain, for the records `where` says; None is all."""
