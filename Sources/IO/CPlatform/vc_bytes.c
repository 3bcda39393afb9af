#include "vc_bytes.h"

#include <string.h>

size_t vc_bytes_written(const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, p + count - 8, 8);
        if (word) break;
        count -= 8;
    }
    while (count && !p[count - 1]) count--;
    return count;
}

size_t vc_bytes_find(const void *bytes, size_t count, uint32_t word) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i + 4 <= count; i += 8) {
        uint32_t here;
        memcpy(&here, p + i, 4);
        if (here == word) return i;
    }
    return count;
}
