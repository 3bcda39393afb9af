#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `count` bytes, continued from `crc` (0 to begin).
/// The fastest way the processor has is chosen at the first call.
uint32_t vc_crc32c(uint32_t crc, const void *bytes, size_t count);

/// The same by tables alone: the reference that tests hold the others against, and the way where no instruction exists.
uint32_t vc_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

/// "sse4.2", "armv8" or "portable": what `vc_crc32c` uses on this machine.
const char *vc_crc32c_implementation(void);
