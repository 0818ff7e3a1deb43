// The epilogue of sums of products: included where floating_kernels.inl says what must be defined.

// Stores a sum in some row from `channel` on, `valid` numbers, after the epilogue.
NVC_INLINE void Finish(Vector sum, const Epilogue& epilogue, size_t row, size_t channel, size_t valid, Rows out) {
  if (epilogue.wsilu) sum = Wsilu(sum);
  for (const ConstRows& plus : epilogue.plus) {
    if (plus.data == nullptr) continue;
    sum = Add(sum, LoadFirst(plus.data + row * plus.stride + channel, valid));
  }
  StoreFirst(out.data + row * out.stride + channel, sum, valid);
}
