#include "CChecksum.h"

#include <stdatomic.h>
#include <string.h>

// CRC-32C, reflected polynomial. The instructions compute it 8 bytes at a time with a latency of 3 cycles and a throughput of 1,
// so long inputs run as three independent streams; their remainders are joined by shifting over a known number of zero bytes,
// which is linear and kept in tables (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011).
enum { polynomial = 0x82f63b78u, long_stream = 4096, short_stream = 256 };

typedef struct {
    uint32_t table[8][256];  // slicing by 8
    uint32_t over_long[4][256];  // remainder after long_stream zero bytes, by byte of the remainder
    uint32_t over_short[4][256];
} crc_tables;

static crc_tables tables;
static atomic_int tables_state;  // 0 not made, 1 being made, 2 made

static uint32_t step(uint32_t crc, unsigned char byte) {
    crc ^= byte;
    for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
    return crc;
}

static void make_shift(uint32_t out[4][256], size_t zeroes) {
    // The shift is linear: the images of 32 single bits give all.
    uint32_t image[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = 1u << bit;
        for (size_t i = 0; i < zeroes; i++) crc = crc >> 8 ^ tables.table[0][crc & 0xff];
        image[bit] = crc;
    }
    for (int byte = 0; byte < 4; byte++)
        for (int value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1) sum ^= image[byte * 8 + bit];
            out[byte][value] = sum;
        }
}

static void make_tables(void) {
    int expected = 0;
    if (atomic_compare_exchange_strong(&tables_state, &expected, 1)) {
        for (int value = 0; value < 256; value++) tables.table[0][value] = step(0, (unsigned char)value);
        for (int slice = 1; slice < 8; slice++)
            for (int value = 0; value < 256; value++) {
                uint32_t before = tables.table[slice - 1][value];
                tables.table[slice][value] = before >> 8 ^ tables.table[0][before & 0xff];
            }
        make_shift(tables.over_long, long_stream);
        make_shift(tables.over_short, short_stream);
        atomic_store_explicit(&tables_state, 2, memory_order_release);
    }
    while (atomic_load_explicit(&tables_state, memory_order_acquire) != 2) {}
}

static inline void need_tables(void) {
    if (atomic_load_explicit(&tables_state, memory_order_acquire) != 2) make_tables();
}

static inline uint64_t load8(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint32_t vc_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    need_tables();
    const unsigned char *p = bytes;
    crc = ~crc;
    while (count >= 8) {
        uint64_t w = load8(p) ^ crc;
        crc = tables.table[7][w & 0xff] ^ tables.table[6][w >> 8 & 0xff] ^ tables.table[5][w >> 16 & 0xff] ^
              tables.table[4][w >> 24 & 0xff] ^ tables.table[3][w >> 32 & 0xff] ^ tables.table[2][w >> 40 & 0xff] ^
              tables.table[1][w >> 48 & 0xff] ^ tables.table[0][w >> 56];
        p += 8;
        count -= 8;
    }
    while (count--) crc = crc >> 8 ^ tables.table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2")))
#define CRC8(crc, byte) __builtin_ia32_crc32qi(crc, byte)
#define CRC64(crc, word) (uint32_t)__builtin_ia32_crc32di(crc, word)
#define HARDWARE_NAME "sse4.2"
static int has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#define HARDWARE __attribute__((target("crc")))
#define CRC8(crc, byte) __builtin_arm_crc32cb(crc, byte)
#define CRC64(crc, word) __builtin_arm_crc32cd(crc, word)
#define HARDWARE_NAME "armv8"
static int has_hardware(void) { return (getauxval(AT_HWCAP) >> 7 & 1) != 0; }  // HWCAP_CRC32
#elif defined(__aarch64__) && defined(__APPLE__)
#define HARDWARE __attribute__((target("crc")))
#define CRC8(crc, byte) __builtin_arm_crc32cb(crc, byte)
#define CRC64(crc, word) __builtin_arm_crc32cd(crc, word)
#define HARDWARE_NAME "armv8"
static int has_hardware(void) { return 1; }
#endif

#ifdef HARDWARE
static inline uint32_t over(const uint32_t shift[4][256], uint32_t crc) {
    return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^ shift[2][crc >> 16 & 0xff] ^ shift[3][crc >> 24];
}

HARDWARE static inline uint32_t three_streams(
    uint32_t crc, const unsigned char *p, size_t stream, const uint32_t shift[4][256]) {
    uint32_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < stream; i += 8) {
        a = CRC64(a, load8(p + i));
        b = CRC64(b, load8(p + stream + i));
        c = CRC64(c, load8(p + 2 * stream + i));
    }
    a = over(shift, a) ^ b;
    return over(shift, a) ^ c;
}

HARDWARE static uint32_t crc32c_hardware(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    crc = ~crc;
    while (count >= 3 * long_stream) {
        crc = three_streams(crc, p, long_stream, tables.over_long);
        p += 3 * long_stream;
        count -= 3 * long_stream;
    }
    while (count >= 3 * short_stream) {
        crc = three_streams(crc, p, short_stream, tables.over_short);
        p += 3 * short_stream;
        count -= 3 * short_stream;
    }
    while (count >= 8) {
        crc = CRC64(crc, load8(p));
        p += 8;
        count -= 8;
    }
    while (count--) crc = CRC8(crc, *p++);
    return ~crc;
}
#endif

static atomic_int chosen;  // 0 not yet, 1 portable, 2 hardware

static int choose(void) {
    need_tables();
    int choice = 1;
#ifdef HARDWARE
    if (has_hardware()) choice = 2;
#endif
    atomic_store_explicit(&chosen, choice, memory_order_release);
    return choice;
}

uint32_t vc_crc32c(uint32_t crc, const void *bytes, size_t count) {
    int choice = atomic_load_explicit(&chosen, memory_order_acquire);
    if (choice == 0) choice = choose();
#ifdef HARDWARE
    if (choice == 2) return crc32c_hardware(crc, bytes, count);
#endif
    return vc_crc32c_portable(crc, bytes, count);
}

const char *vc_crc32c_implementation(void) {
    int choice = atomic_load_explicit(&chosen, memory_order_acquire);
    if (choice == 0) choice = choose();
#ifdef HARDWARE
    if (choice == 2) return HARDWARE_NAME;
#endif
    return "portable";
}
