"""Where a batch lies: anonymous shared memory, the ring of slots, the arena, and what memory there is."""
