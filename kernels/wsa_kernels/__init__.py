"""Operations on all matrices of a population at once: tensors in, tensors out."""
