#pragma once

#include <stddef.h>

/// One file of the console, as it stands in `Static/`.
typedef struct {
    const char *_Nonnull name;
    /// Its media type.
    const char *_Nonnull type;
    const unsigned char *_Nonnull bytes;
    size_t size;
} vc_console_file;

size_t vc_console_file_count(void);

/// `index` below the count.
vc_console_file vc_console_file_at(size_t index);
