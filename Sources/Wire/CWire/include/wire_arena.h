#pragma once
#include <stdbool.h>
#include <stddef.h>

// A bump allocator for messages: everything in it is freed at once. One owner at a time.
//
// Its first member is a ProtobufCAllocator, so its address is one.
typedef struct wire_arena wire_arena;

// NULL without memory. `first`: bytes of the first block. `limit`: bytes that `wire_arena_alloc` may take in all.
// `keep`: the largest block that survives a reset, so that a steady load of larger messages asks the system for nothing.
wire_arena *wire_arena_create(size_t first, size_t limit, size_t keep);
void wire_arena_destroy(wire_arena *arena);

// Forgets all that was allocated.
void wire_arena_reset(wire_arena *arena);

// 16-byte aligned, not zeroed. NULL beyond the limit or without memory: decoding then fails.
void *wire_arena_alloc(wire_arena *arena, size_t size);

// The same beyond the limit too, which is about what input may claim; replies are bounded by their own limits.
// Without memory the process ends: there is nothing to unwind to.
void *wire_arena_alloc_unlimited(wire_arena *arena, size_t size);

// Bytes handed out since the last reset.
size_t wire_arena_used(const wire_arena *arena);
// Bytes held from the system.
size_t wire_arena_held(const wire_arena *arena);
// An allocation was refused since the last reset.
bool wire_arena_exhausted(const wire_arena *arena);
