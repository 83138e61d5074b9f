"""Proofs about every registered experiment."""
