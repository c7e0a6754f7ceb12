"""The semantic layer of the cache: the answer to another wording of the same question."""
