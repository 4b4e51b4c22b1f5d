"""Neural building blocks as batched torch: populations of small networks trained and evaluated as one tensor
program."""
