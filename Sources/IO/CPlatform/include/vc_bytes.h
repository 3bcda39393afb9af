#pragma once
#include <stddef.h>
#include <stdint.h>

/// Where the last byte that is not zero ends; 0 if there is none.
size_t vc_bytes_written(const void *bytes, size_t count);
/// The first position, of those that are multiples of 8, at which four bytes equal `word` in memory order; `count` if there is none.
size_t vc_bytes_find(const void *bytes, size_t count, uint32_t word);
