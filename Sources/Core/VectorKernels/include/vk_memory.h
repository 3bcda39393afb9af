#pragma once

#include <stddef.h>

/// Zeroed memory at a fixed address, 64-byte aligned or better, committed as it is touched. Large blocks ask for huge pages:
/// a walk touches a page a hop, and 4 KiB pages cost 6 to 13 % in TLB misses. Null when the system has none left.
void *vk_allocate(size_t bytes);
void vk_deallocate(void *address, size_t bytes);
