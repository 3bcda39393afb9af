#include "wire_arena.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct block {
    struct block *next;
    size_t size; // of what follows the header
} block;

struct wire_arena {
    ProtobufCAllocator allocator;
    uint8_t *cursor;
    uint8_t *end;
    block *blocks; // newest first; the cursor is in the first
    size_t used;
    size_t held;
    size_t limit;
    size_t keep;
    bool exhausted;
};

_Static_assert(sizeof(block) == 16, "blocks keep the alignment of what follows");

// Large enough that a bulk request takes few blocks, small enough that the last one wastes little.
static const size_t largest_growth = 4 << 20;

static void *allocate(void *data, size_t size) { return wire_arena_alloc(data, size); }
static void release(void *data, void *pointer) {
    (void)data;
    (void)pointer;
}

static bool add_block(wire_arena *arena, size_t size) {
    block *added = malloc(sizeof *added + size);
    if (!added) return false;
    added->next = arena->blocks;
    added->size = size;
    arena->blocks = added;
    arena->held += size;
    arena->cursor = (uint8_t *)(added + 1);
    arena->end = arena->cursor + size;
    return true;
}

wire_arena *wire_arena_create(size_t first, size_t limit, size_t keep) {
    wire_arena *arena = calloc(1, sizeof *arena);
    if (!arena) return NULL;
    arena->allocator = (ProtobufCAllocator){.alloc = allocate, .free = release, .allocator_data = arena};
    arena->limit = limit;
    arena->keep = keep;
    if (!add_block(arena, (first + 15) & ~(size_t)15)) {
        free(arena);
        return NULL;
    }
    return arena;
}

void wire_arena_destroy(wire_arena *arena) {
    for (block *b = arena->blocks; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(arena);
}

void wire_arena_reset(wire_arena *arena) {
    // Blocks grow, so the newest is usually the largest. The oldest is always kept when none may be.
    block *kept = NULL;
    for (block *b = arena->blocks; b; b = b->next) {
        if (!b->next && !kept) kept = b;
        if (b->size <= arena->keep && (!kept || b->size > kept->size)) kept = b;
    }
    for (block *b = arena->blocks; b;) {
        block *next = b->next;
        if (b != kept) {
            arena->held -= b->size;
            free(b);
        }
        b = next;
    }
    kept->next = NULL;
    arena->blocks = kept;
    arena->cursor = (uint8_t *)(kept + 1);
    arena->end = arena->cursor + kept->size;
    arena->used = 0;
    arena->exhausted = false;
}

static inline void *bump(wire_arena *arena, size_t size) {
    if ((size_t)(arena->end - arena->cursor) < size) {
        size_t growth = arena->held < largest_growth ? arena->held : largest_growth;
        if (!add_block(arena, size > growth ? size : growth)) return NULL;
    }
    void *taken = arena->cursor;
    arena->cursor += size;
    arena->used += size;
    return taken;
}

void *wire_arena_alloc(wire_arena *arena, size_t size) {
    // The comparison before the rounding: neither it nor the sum can overflow then.
    if (size <= arena->limit) {
        size = (size + 15) & ~(size_t)15;
        if (arena->used <= arena->limit && size <= arena->limit - arena->used) {
            void *taken = bump(arena, size);
            if (taken) return taken;
        }
    }
    arena->exhausted = true;
    return NULL;
}

void *wire_arena_alloc_unlimited(wire_arena *arena, size_t size) {
    void *taken = size <= SIZE_MAX / 2 ? bump(arena, (size + 15) & ~(size_t)15) : NULL;
    if (taken) return taken;
    fprintf(stderr, "vecraft: no memory for %zu bytes of a message\n", size);
    abort();
}

size_t wire_arena_used(const wire_arena *arena) { return arena->used; }
size_t wire_arena_held(const wire_arena *arena) { return arena->held; }
bool wire_arena_exhausted(const wire_arena *arena) { return arena->exhausted; }
