// AVX-512: 16 floats or 64 codes at a time. The VNNI set differs by its integer kernels alone, the one that counts bits
// (VPOPCNTDQ,
// with VBMI2) from that one by sketches and what goes with them.
#include "vk_bitmap.h"
#include "vk_encode.h"
#include "vk_sketch.h"
#include "vk_variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,popcnt")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi,popcnt")))
#define TARGET_POPCNT \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vpopcntdq,avx512vbmi2,avx2,fma,f16c,bmi,popcnt")))
#define INLINE_POPCNT static inline __attribute__((always_inline)) TARGET_POPCNT
#define INLINE_VNNI static inline __attribute__((always_inline)) TARGET_VNNI

// Cache lines of a row asked for ahead of its turn; the hardware follows a longer one by itself.
enum { ahead = 32 };

INLINE void prefetch_row(const void *row, size_t bytes) {
    size_t lines = (bytes + 63) / 64;
    for (size_t i = 0; i < lines && i < ahead; i++) _mm_prefetch((const char *)row + 64 * i, _MM_HINT_T0);
}

INLINE __m512 step(__m512 sum, __m512 query, __m512 row, int l2) {
    if (!l2) return _mm512_fmadd_ps(query, row, sum);
    __m512 difference = _mm512_sub_ps(query, row);
    return _mm512_fmadd_ps(difference, difference, sum);
}

/// The four horizontal sums, by transposing while adding.
INLINE __m128 folded(const __m512 sums[4]) {
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(sums[0], sums[1]), _mm512_unpackhi_ps(sums[0], sums[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(sums[2], sums[3]), _mm512_unpackhi_ps(sums[2], sums[3]));
    __m512 low = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd)));
    __m512 high = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd)));
    __m512 all = _mm512_add_ps(low, high);
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// Dot products or squared distances of `query` with `width` (1 to 4) rows; the order of addition does not depend on `width`.
INLINE __m128 measured(const float *query, const float *const row[4], size_t dimension, int l2, int width) {
    __m512 even[4], odd[4];
    for (int r = 0; r < 4; r++) even[r] = odd[r] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= dimension; i += 32) {
        __m512 q0 = _mm512_loadu_ps(query + i), q1 = _mm512_loadu_ps(query + i + 16);
        for (int r = 0; r < width; r++) {
            even[r] = step(even[r], q0, _mm512_loadu_ps(row[r] + i), l2);
            odd[r] = step(odd[r], q1, _mm512_loadu_ps(row[r] + i + 16), l2);
        }
    }
    if (i + 16 <= dimension) {
        __m512 q0 = _mm512_loadu_ps(query + i);
        for (int r = 0; r < width; r++) even[r] = step(even[r], q0, _mm512_loadu_ps(row[r] + i), l2);
        i += 16;
    }
    if (i < dimension) {
        __mmask16 part = (__mmask16)((1u << (dimension - i)) - 1);
        __m512 q0 = _mm512_maskz_loadu_ps(part, query + i);
        for (int r = 0; r < width; r++) odd[r] = step(odd[r], q0, _mm512_maskz_loadu_ps(part, row[r] + i), l2);
    }
    for (int r = 0; r < width; r++) even[r] = _mm512_add_ps(even[r], odd[r]);
    return folded(even);
}

/// `vk_key`, four at a time.
INLINE __m128i keys_of(__m128 distance) {
    __m128i bits = _mm_castps_si128(distance);
    __m128i flip = _mm_or_si128(_mm_srai_epi32(bits, 31), _mm_set1_epi32((int)0x80000000));
    __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(distance, distance));
    __m128i key = _mm_or_si128(_mm_xor_si128(bits, flip), nan);
    return _mm_min_epu32(key, _mm_set1_epi32((int)0xfffffffe));
}

INLINE void store_keys(uint32_t *keys, __m128i four, size_t count) {
    if (count >= 4) _mm_storeu_si128((__m128i *)keys, four);
    else _mm_mask_storeu_epi32(keys, (__mmask8)((1u << count) - 1), four);
}

INLINE void float_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t dimension = rows->dimension;
    const __m128 one = _mm_set1_ps(1);
    // As many lines under way for short rows as for long ones.
    const size_t window = dimension <= 128 ? 12 : 4;
    for (size_t i = 0; i < count && i < window; i++) prefetch_row(vk_floats(rows, ids[i]), dimension * 4);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t j = i + window; j < count && j < i + window + 4; j++)
            prefetch_row(vk_floats(rows, ids[j]), dimension * 4);
        const float *const row[4] = {
            vk_floats(rows, ids[i]), vk_floats(rows, ids[i + 1]), vk_floats(rows, ids[i + 2]), vk_floats(rows, ids[i + 3])};
        __m128 value = measured(query->floats, row, dimension, l2, 4);
        store_keys(keys + i, keys_of(l2 ? value : _mm_sub_ps(one, value)), 4);
    }
    for (; i < count; i++) {
        const float *const row[4] = {vk_floats(rows, ids[i])};
        __m128 value = measured(query->floats, row, dimension, l2, 1);
        store_keys(keys + i, keys_of(l2 ? value : _mm_sub_ps(one, value)), 1);
    }
}

TARGET static void dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    float_rows(rows, query, ids, count, keys, 0);
}
TARGET static void l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    float_rows(rows, query, ids, count, keys, 1);
}
TARGET static float dot(const float *a, const float *b, size_t count) {
    const float *const row[4] = {b};
    return _mm_cvtss_f32(measured(a, row, count, 0, 1));
}
TARGET static float l2(const float *a, const float *b, size_t count) {
    const float *const row[4] = {b};
    return _mm_cvtss_f32(measured(a, row, count, 1, 1));
}

/// The first `width` (1 to 4) of `ids` from `i` on; a short group repeats its first row, which the cache has.
INLINE void take_four(const uint32_t *ids, size_t i, size_t width, uint32_t four[4]) {
    for (size_t j = 0; j < 4; j++) four[j] = ids[j < width ? i + j : i];
}

/// Distances from exact integer products; the same roundings in every variant.
INLINE __m128i code_keys(const vk_rows *rows, const vk_query *query, const uint32_t four[4], __m128i products) {
    const float *terms = rows->terms;
    __m128 a = _mm_castpd_ps(_mm_load_sd((const double *)(terms + 2 * (size_t)four[0])));
    __m128 b = _mm_castpd_ps(_mm_load_sd((const double *)(terms + 2 * (size_t)four[1])));
    __m128 c = _mm_castpd_ps(_mm_load_sd((const double *)(terms + 2 * (size_t)four[2])));
    __m128 d = _mm_castpd_ps(_mm_load_sd((const double *)(terms + 2 * (size_t)four[3])));
    __m128 ab = _mm_unpacklo_ps(a, b), cd = _mm_unpacklo_ps(c, d);
    __m128 steps = _mm_mul_ps(_mm_set1_ps(query->scale), _mm_movelh_ps(ab, cd));
    __m128 biases = _mm_add_ps(_mm_set1_ps(query->bias), _mm_movehl_ps(cd, ab));
    return keys_of(_mm_add_ps(biases, _mm_mul_ps(_mm_cvtepi32_ps(products), steps)));
}

/// `blocks` lines, a constant where dimensions are common.
INLINE void prefetch_coded(const vk_rows *rows, uint32_t id, const size_t blocks) {
    const char *row = (const char *)rows->codes + id * (64 * blocks);
    for (size_t k = 0; k < blocks && k < ahead; k++) _mm_prefetch(row + 64 * k, _MM_HINT_T0);
    _mm_prefetch((const char *)(rows->terms + 2 * (size_t)id), _MM_HINT_T0);
}

INLINE __m128i code_folded(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/// Queries of so many blocks of 64 codes stay in registers; a longer one is read again for every four rows.
enum { in_registers = 12 };

/// VNNI multiplies unsigned by signed; rows are kept with 128 added, which `offset` takes away again.
INLINE_VNNI __m128i code8_group(
    const vk_rows *rows, const vk_query *query, const __m512i *q, __m512i flip, int32_t offset, const uint32_t four[4],
    const size_t blocks) {
    const uint8_t *row[4];
    __m512i sums[4];
    for (int r = 0; r < 4; r++) {
        row[r] = rows->codes + four[r] * (64 * blocks);
        sums[r] = _mm512_setzero_si512();
    }
    for (size_t k = 0; k < blocks; k++) {
        __m512i x = k < in_registers ? q[k] : _mm512_xor_si512(_mm512_loadu_si512(query->codes + 64 * k), flip);
        for (int r = 0; r < 4; r++) sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_load_si512(row[r] + 64 * k), x);
    }
    __m128i products = _mm_sub_epi32(code_folded(sums[0], sums[1], sums[2], sums[3]), _mm_set1_epi32(offset));
    return code_keys(rows, query, four, products);
}

/// Low halves of the bytes meet the first half of the query, high halves, 16 times too large, the second.
INLINE_VNNI __m128i code4_group(
    const vk_rows *rows, const vk_query *query, const __m512i *q, const uint32_t four[4], const size_t blocks) {
    const __m512i low = _mm512_set1_epi8(0x0f), high = _mm512_set1_epi8((char)0xf0);
    const uint8_t *row[4];
    __m512i lows[4], highs[4];
    for (int r = 0; r < 4; r++) {
        row[r] = rows->codes + four[r] * (64 * blocks);
        lows[r] = highs[r] = _mm512_setzero_si512();
    }
    for (size_t k = 0; k < blocks; k++) {
        const int kept = 2 * k + 1 < in_registers;
        __m512i x = kept ? q[2 * k] : _mm512_loadu_si512(query->codes + 64 * k);
        __m512i y = kept ? q[2 * k + 1] : _mm512_loadu_si512(query->codes + 64 * (blocks + k));
        for (int r = 0; r < 4; r++) {
            __m512i v = _mm512_load_si512(row[r] + 64 * k);
            lows[r] = _mm512_dpbusd_epi32(lows[r], _mm512_and_si512(v, low), x);
            highs[r] = _mm512_dpbusd_epi32(highs[r], _mm512_and_si512(v, high), y);
        }
    }
    for (int r = 0; r < 4; r++) lows[r] = _mm512_add_epi32(lows[r], _mm512_srai_epi32(highs[r], 4));
    __m128i products = _mm_slli_epi32(code_folded(lows[0], lows[1], lows[2], lows[3]), 1);
    return code_keys(rows, query, four, _mm_sub_epi32(products, _mm_set1_epi32(query->offset)));
}

/// Runs `GROUP` on four rows at a time, `near` rows asked for ahead of their turn.
#define IN_GROUPS(near, GROUP)                                                                                         \
    do {                                                                                                               \
        for (size_t i = 0; i < count && i < near; i++) prefetch_coded(rows, ids[i], blocks);                           \
        size_t i = 0;                                                                                                  \
        for (; i + 4 <= count; i += 4) {                                                                               \
            if (i + near + 4 <= count)                                                                                 \
                for (size_t j = 0; j < 4; j++) prefetch_coded(rows, ids[i + near + j], blocks);                        \
            else                                                                                                       \
                for (size_t j = i + near; j < count; j++) prefetch_coded(rows, ids[j], blocks);                        \
            const uint32_t *four = ids + i;                                                                            \
            store_keys(keys + i, GROUP, 4);                                                                            \
        }                                                                                                              \
        if (i < count) {                                                                                               \
            uint32_t four[4];                                                                                          \
            take_four(ids, i, count - i, four);                                                                        \
            store_keys(keys + i, GROUP, count - i);                                                                    \
        }                                                                                                              \
    } while (0)

/// `blocks` is a constant where dimensions are common: the loops unroll.
INLINE_VNNI void code8_batch(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, const size_t blocks) {
    const __m512i flip = _mm512_set1_epi8(query->is_row ? (char)0x80 : 0);
    __m512i q[in_registers];
    for (size_t k = 0; k < blocks && k < in_registers; k++) q[k] = _mm512_xor_si512(_mm512_loadu_si512(query->codes + 64 * k), flip);
    int32_t offset = query->offset;
    if (query->is_row) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t k = 0; k < blocks; k++)
            sum = _mm512_dpbusd_epi32(
                sum, _mm512_set1_epi8((char)0x80), _mm512_xor_si512(_mm512_loadu_si512(query->codes + 64 * k), flip));
        offset = _mm512_reduce_add_epi32(sum);
    }
    IN_GROUPS(4, code8_group(rows, query, q, flip, offset, four, blocks));
}

INLINE_VNNI void code4_batch(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, const size_t blocks) {
    __m512i q[in_registers];
    for (size_t k = 0; 2 * k + 1 < in_registers && k < blocks; k++) {
        q[2 * k] = _mm512_loadu_si512(query->codes + 64 * k);
        q[2 * k + 1] = _mm512_loadu_si512(query->codes + 64 * (blocks + k));
    }
    IN_GROUPS(8, code4_group(rows, query, q, four, blocks));
}

#define CODE_ROWS(name, batch)                                                                                         \
    TARGET_VNNI static void name(                                                                                      \
        const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {               \
        switch (rows->code_stride / 64) {                                                                              \
        case 1: batch(rows, query, ids, count, keys, 1); break;                                                        \
        case 2: batch(rows, query, ids, count, keys, 2); break;                                                        \
        case 3: batch(rows, query, ids, count, keys, 3); break;                                                        \
        case 4: batch(rows, query, ids, count, keys, 4); break;                                                        \
        case 6: batch(rows, query, ids, count, keys, 6); break;                                                        \
        case 8: batch(rows, query, ids, count, keys, 8); break;                                                        \
        case 12: batch(rows, query, ids, count, keys, 12); break;                                                      \
        default: batch(rows, query, ids, count, keys, rows->code_stride / 64);                                         \
        }                                                                                                              \
    }
CODE_ROWS(code8_rows, code8_batch)
CODE_ROWS(code4_rows, code4_batch)

INLINE void half_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t stride = rows->half_stride;
    const __m128 scale = _mm_set1_ps(query->scale), bias = _mm_set1_ps(query->bias);
    for (size_t i = 0; i < count && i < 4; i++) prefetch_row(rows->halves + ids[i] * stride, stride * 2);
    for (size_t i = 0; i < count; i += 4) {
        size_t width = count - i < 4 ? count - i : 4;
        for (size_t j = i + 4; j < count && j < i + 8; j++) prefetch_row(rows->halves + ids[j] * stride, stride * 2);
        uint32_t four[4];
        take_four(ids, i, width, four);
        __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        for (size_t k = 0; k < stride; k += 16) {
            __m512 q = _mm512_loadu_ps(query->floats + k);
            for (int r = 0; r < 4; r++) {
                __m256i halves = _mm256_load_si256((const __m256i *)(rows->halves + four[r] * stride + k));
                sums[r] = step(sums[r], q, _mm512_cvtph_ps(halves), l2);
            }
        }
        store_keys(keys + i, keys_of(_mm_add_ps(bias, _mm_mul_ps(scale, folded(sums)))), width);
    }
}

TARGET static void half_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    half_rows(rows, query, ids, count, keys, 0);
}
TARGET static void half_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    half_rows(rows, query, ids, count, keys, 1);
}

TARGET static vk_coded encode8(
    const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride, uint8_t flip) {
    return centre ? vk_encode8_body(from, centre, dimension, codes, stride, flip)
                  : vk_encode8_body(from, NULL, dimension, codes, stride, flip);
}
TARGET static vk_coded encode4(const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride) {
    return vk_encode4_body(from, centre, dimension, codes, stride);
}

INLINE uint32_t signs(const float *x) { return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_setzero_ps(), _CMP_GE_OQ); }
TARGET static vk_coded sketch_row(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_row_body(from, centre, dimension, words, signs);
}
TARGET static vk_coded sketch_query(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_query_body(from, centre, dimension, words, signs);
}
TARGET static void sketch_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_sketch_rows_body(rows, query, ids, count, keys);
}

/// Bits that differ in each word, those of the second plane twice.
INLINE_POPCNT __m512i differing(__m512i row, __m512i inner, __m512i outer) {
    __m512i twice = _mm512_popcnt_epi64(_mm512_xor_si512(row, outer));
    return _mm512_add_epi64(_mm512_popcnt_epi64(_mm512_xor_si512(row, inner)), _mm512_add_epi64(twice, twice));
}

/// Rows of up to 192 components lie two in a register, terms and all. Returns how many bits differ, and eight rows' terms.
INLINE_POPCNT __m256i short_group(
    const uint8_t *const row[8], const __m512i planes[2], const size_t words, __m512i *terms) {
    const __m512i bits = _mm512_maskz_set1_epi64((__mmask8)(((1 << words) - 1) * 0x11), -1);
    __m512i pair[4], sums[4];
    for (int p = 0; p < 4; p++) {
        __m256i first = _mm256_load_si256((const __m256i *)(const void *)row[2 * p]);
        __m256i second = _mm256_load_si256((const __m256i *)(const void *)row[2 * p + 1]);
        pair[p] = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
        sums[p] = differing(_mm512_and_si512(pair[p], bits), planes[0], planes[1]);
    }
    __m512i half[2];
    for (int h = 0; h < 2; h++) {
        half[h] = _mm512_add_epi64(
            _mm512_unpacklo_epi64(sums[2 * h], sums[2 * h + 1]), _mm512_unpackhi_epi64(sums[2 * h], sums[2 * h + 1]));
        if (words > 2) half[h] = _mm512_add_epi64(half[h], _mm512_shuffle_i64x2(half[h], half[h], 0xb1));
    }
    // Rows 0 and 2 in the first lane of the first, 1 and 3 in its third.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 8, 12, 9, 13);
    const __m512i last = _mm512_setr_epi64((long)words, (long)words + 4, (long)words + 8, (long)words + 12, 0, 0, 0, 0);
    __m512i low = _mm512_permutex2var_epi64(pair[0], last, pair[1]);
    __m512i high = _mm512_permutex2var_epi64(pair[2], last, pair[3]);
    *terms = _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
    return _mm512_cvtepi64_epi32(_mm512_permutex2var_epi64(half[0], order, half[1]));
}

/// Of longer ones each takes one register or several.
INLINE_POPCNT __m256i long_group(
    const uint8_t *const row[8], const vk_query *query, const __m512i planes[2], const size_t words, __m512i *terms) {
    const uint64_t *plane = (const uint64_t *)(const void *)query->codes;
    const size_t blocks = (words + 7) / 8, last = 8 * (blocks - 1);
    const __mmask8 part = (__mmask8)(0xff >> (8 * blocks - words));
    __m512i sums[8];
    for (int r = 0; r < 8; r++) {
        sums[r] = differing(_mm512_maskz_loadu_epi64(part, row[r] + 8 * last), planes[0], planes[1]);
        for (size_t k = 0; k < last; k += 8) {
            __m512i inner = _mm512_loadu_si512(plane + k), outer = _mm512_loadu_si512(plane + words + k);
            sums[r] = _mm512_add_epi64(sums[r], differing(_mm512_loadu_si512(row[r] + 8 * k), inner, outer));
        }
    }
    __m128i four[2];
    for (int h = 0; h < 2; h++) {
        const __m512i *s = sums + 4 * h;
        // Rows 0 and 1 in the low halves of the words, 2 and 3 in the high ones.
        __m512i ab = _mm512_add_epi64(_mm512_unpacklo_epi64(s[0], s[1]), _mm512_unpackhi_epi64(s[0], s[1]));
        __m512i cd = _mm512_add_epi64(_mm512_unpacklo_epi64(s[2], s[3]), _mm512_unpackhi_epi64(s[2], s[3]));
        __m512i all = _mm512_or_si512(ab, _mm512_slli_epi64(cd, 32));
        __m256i folded = _mm256_add_epi64(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
        four[h] = _mm_add_epi64(_mm256_castsi256_si128(folded), _mm256_extracti128_si256(folded, 1));
    }
    __m128d two[4];
    for (int p = 0; p < 4; p++) {
        const double *first = (const double *)(const void *)(row[2 * p] + 8 * words);
        two[p] = _mm_loadh_pd(_mm_load_sd(first), (const double *)(const void *)(row[2 * p + 1] + 8 * words));
    }
    __m512d all = _mm512_castpd256_pd512(_mm256_set_m128d(two[1], two[0]));
    *terms = _mm512_castpd_si512(_mm512_insertf64x4(all, _mm256_set_m128d(two[3], two[2]), 1));
    return _mm256_shuffle_epi32(_mm256_set_m128i(four[1], four[0]), 0xd8);
}

/// `words` a row, a constant where dimensions are common.
INLINE_POPCNT void sketch_batch(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, const size_t words) {
    enum { rows_ahead = 16 };
    const size_t stride = (8 * words + 8 + 31) / 32 * 32;
    const uint64_t *plane = (const uint64_t *)(const void *)query->codes;
    // Of the last block; all there is for up to 512 components.
    const size_t last = (words - 1) / 8 * 8;
    const __mmask8 part = (__mmask8)(0xff >> (last + 8 - words));
    __m512i planes[2] = {_mm512_maskz_loadu_epi64(part, plane + last), _mm512_maskz_loadu_epi64(part, plane + words + last)};
    if (words <= 3)
        for (int p = 0; p < 2; p++) planes[p] = _mm512_shuffle_i64x2(planes[p], planes[p], 0x44);
    const __m256 scale = _mm256_set1_ps(query->scale), bias = _mm256_set1_ps(query->bias);
    const __m256 slack = _mm256_set1_ps(query->slack);
    const __m256i offset = _mm256_set1_epi32(query->offset), sign = _mm256_set1_epi32((int)0x80000000);
    for (size_t i = 0; i < count; i += 8) {
        const size_t width = count - i < 8 ? count - i : 8;
        const uint32_t *some = ids + i;
        uint32_t end[8];
        if (width < 8) {
            // A short group repeats its first row.
            for (size_t j = 0; j < 8; j++) end[j] = ids[j < width ? i + j : i];
            some = end;
        }
        const uint8_t *row[8];
        for (int r = 0; r < 8; r++) row[r] = rows->sketches + some[r] * stride;
        for (size_t j = i + rows_ahead; j < i + rows_ahead + 8 && j < count; j++)
            for (size_t k = 0; k < stride; k += 64) _mm_prefetch((const char *)rows->sketches + ids[j] * stride + k, _MM_HINT_T0);
        __m512i terms;
        __m256i counts = words <= 3 ? short_group(row, planes, words, &terms) : long_group(row, query, planes, words, &terms);
        // As in `vk_sketch_key`, eight at a time.
        __m256 steps = _mm256_castsi256_ps(_mm512_cvtepi64_epi32(terms));
        __m256 biases = _mm256_add_ps(bias, _mm256_castsi256_ps(_mm512_cvtepi64_epi32(_mm512_srli_epi64(terms, 32))));
        __m256 products = _mm256_cvtepi32_ps(_mm256_sub_epi32(offset, _mm256_add_epi32(counts, counts)));
        __m256 values = _mm256_sub_ps(_mm256_mul_ps(products, scale), slack);
        __m256 distance = _mm256_add_ps(biases, _mm256_mul_ps(values, steps));
        __m256i bits = _mm256_castps_si256(distance);
        __m256i key = _mm256_xor_si256(bits, _mm256_or_si256(_mm256_srai_epi32(bits, 31), sign));
        const __mmask8 nan = _mm256_cmp_ps_mask(distance, distance, _CMP_UNORD_Q);
        key = _mm256_mask_mov_epi32(key, nan, _mm256_set1_epi32((int)0xfffffffe));
        if (width == 8) _mm256_storeu_si256((__m256i *)(void *)(keys + i), key);
        else _mm256_mask_storeu_epi32(keys + i, (__mmask8)((1u << width) - 1), key);
    }
}

TARGET_POPCNT static void popcnt_sketch_rows(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    const size_t words = vk_sketch_words(rows->dimension);
    switch (words) {
    case 1: sketch_batch(rows, query, ids, count, keys, 1); break;
    case 2: sketch_batch(rows, query, ids, count, keys, 2); break;
    case 3: sketch_batch(rows, query, ids, count, keys, 3); break;
    case 4: sketch_batch(rows, query, ids, count, keys, 4); break;
    case 6: sketch_batch(rows, query, ids, count, keys, 6); break;
    case 8: sketch_batch(rows, query, ids, count, keys, 8); break;
    case 12: sketch_batch(rows, query, ids, count, keys, 12); break;
    case 16: sketch_batch(rows, query, ids, count, keys, 16); break;
    case 24: sketch_batch(rows, query, ids, count, keys, 24); break;
    default: sketch_batch(rows, query, ids, count, keys, words);
    }
}

TARGET static size_t keep_between(const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept) {
    const __m512i first = _mm512_set1_epi32((int)least), range = _mm512_set1_epi32((int)(most - least));
    size_t some = 0;
    for (size_t i = 0; i < count; i += 16) {
        __mmask16 here = count - i < 16 ? (__mmask16)((1u << (count - i)) - 1) : 0xffff;
        __m512i above = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(here, keys + i), first);
        __mmask16 low = _mm512_mask_cmple_epu32_mask(here, above, range);
        if (low == 0) continue;
        // Packed in a register, then stored: a packing store is slow where it is not one instruction.
        __m512i packed = _mm512_maskz_compress_epi32(low, _mm512_maskz_loadu_epi32(here, ids + i));
        const unsigned found = (unsigned)__builtin_popcount(low);
        _mm512_mask_storeu_epi32(kept + some, (__mmask16)((1u << found) - 1), packed);
        some += found;
    }
    return some;
}
TARGET static size_t next_rows(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    return vk_next_rows(bitmap, row, end, limit, ids);
}

/// Which bits are set, as bytes packed and widened: no loop over bits.
TARGET_POPCNT static size_t popcnt_next_rows(
    const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    static const uint8_t numbers[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i all = _mm512_loadu_si512(numbers);
    size_t first = *row, count = 0;
    for (; first < end && count < limit; first += 64) {
        uint64_t bits = bitmap ? bitmap[first >> 6] : ~0ull;
        if (end - first < 64) bits &= (1ull << (end - first)) - 1;
        const size_t here = (size_t)__builtin_popcountll(bits);
        __m512i packed = _mm512_maskz_compress_epi8(bits, all);
        const __m512i base = _mm512_set1_epi32((int)first);
        for (size_t i = 0; i < here; i += 16) {
            __m512i wide = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed));
            _mm512_storeu_si512(ids + count + i, _mm512_add_epi32(wide, base));
            packed = _mm512_shuffle_i64x2(packed, packed, 0x39);
        }
        count += here;
    }
    *row = first;
    return count;
}

TARGET static size_t pool_insert(uint64_t *pool, size_t size, size_t capacity, uint64_t entry) {
    const __m512i limit = _mm512_set1_epi64((long long)entry);
    // From the back, where most entries land; the zeros before the pool end it.
    for (ptrdiff_t i = (ptrdiff_t)(size < capacity ? size : capacity - 1) - 8;; i -= 8) {
        __m512i eight = _mm512_loadu_si512(pool + i);
        __mmask8 greater = _mm512_cmpgt_epu64_mask(eight, limit);
        _mm512_mask_storeu_epi64(pool + i + 1, greater, eight);
        if (greater == 0xff) continue;
        size_t at = (size_t)(i + __builtin_ctz((unsigned)greater | 256));
        pool[at] = entry;
        return at;
    }
}

/// Which of up to 16 keys are not farther than the last of a full pool: most are.
INLINE unsigned near_keys(const uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, size_t count) {
    const __mmask16 here = count < 16 ? (__mmask16)((1u << count) - 1) : 0xffff;
    const uint32_t last = size == capacity ? (uint32_t)(pool[capacity - 1] >> 32) : 0xffffffffu;
    return _mm512_mask_cmple_epu32_mask(here, _mm512_maskz_loadu_epi32(here, keys), _mm512_set1_epi32((int)last));
}

INLINE uint64_t first_bits(size_t count) { return count == 64 ? ~0ull : (1ull << count) - 1; }

/// A small pool stays in registers, `blocks` of eight entries: written and read again for every row it would wait for its own
/// stores.
INLINE size_t offer_small(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, unsigned near, size_t *lowest,
    const int blocks) {
    const uint64_t all = first_bits(capacity), used = first_bits(size);
    __m512i block[8];
    for (int b = 0; b < blocks; b++)
        block[b] = _mm512_mask_loadu_epi64(_mm512_set1_epi64(-1), (__mmask8)(used >> 8 * b), pool + 8 * b);
    size_t first = *lowest;
    for (; near != 0; near &= near - 1) {
        const int i = __builtin_ctz(near);
        const __m512i entry = _mm512_set1_epi64((long long)vk_entry(keys[i], ids[i]));
        __mmask8 greater[8];
        uint64_t behind = 0;
        for (int b = 0; b < blocks; b++) {
            greater[b] = _mm512_cmpgt_epu64_mask(block[b], entry);
            behind |= (uint64_t)greater[b] << 8 * b;
        }
        behind &= all;
        if (behind == 0) continue;
        const uint64_t here = behind & -behind;
        for (int b = blocks - 1; b >= 0; b--) {
            // Those behind move up by one, the last of the block before into the first place.
            __m512i moved = _mm512_alignr_epi64(block[b], b > 0 ? block[b - 1] : entry, 7);
            block[b] = _mm512_mask_mov_epi64(block[b], greater[b], moved);
            block[b] = _mm512_mask_mov_epi64(block[b], (__mmask8)(here >> 8 * b), entry);
        }
        size += size < capacity;
        const size_t at = (size_t)__builtin_ctzll(here);
        first = at < first ? at : first;
    }
    const uint64_t kept = first_bits(size);
    for (int b = 0; b < blocks; b++) _mm512_mask_storeu_epi64(pool + 8 * b, (__mmask8)(kept >> 8 * b), block[b]);
    *lowest = first;
    return size;
}

TARGET static size_t pool_offer(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count, size_t *lowest) {
    for (size_t i = 0; i < count; i += 16) {
        unsigned near = near_keys(pool, size, capacity, keys + i, count - i);
        if (near == 0) continue;
        if (capacity <= 64) {
            if (capacity <= 16) size = offer_small(pool, size, capacity, keys + i, ids + i, near, lowest, 2);
            else if (capacity <= 32) size = offer_small(pool, size, capacity, keys + i, ids + i, near, lowest, 4);
            else size = offer_small(pool, size, capacity, keys + i, ids + i, near, lowest, 8);
            continue;
        }
        for (; near != 0; near &= near - 1) {
            const size_t j = i + (size_t)__builtin_ctz(near);
            const uint64_t entry = vk_entry(keys[j], ids[j]);
            if (size == capacity && entry >= pool[capacity - 1]) continue;
            const size_t at = pool_insert(pool, size, capacity, entry);
            size += size < capacity;
            if (at < *lowest) *lowest = at;
        }
    }
    return size;
}

TARGET static size_t restrict_rows(uint64_t *to, const uint64_t *allowed, const uint64_t *deleted, size_t words) {
    return vk_restrict_rows_body(to, allowed, deleted, words);
}

TARGET static void to_f16(const float *from, uint16_t *to, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((__m256i *)(to + i), _mm512_cvtps_ph(_mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    vk_portable.to_f16(from + i, to + i, count - i);
}
TARGET static void from_f16(const uint16_t *from, float *to, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from + i))));
    vk_portable.from_f16(from + i, to + i, count - i);
}

// Without VNNI the 256-bit integer kernels of AVX2 are as good.
static void avx2_code8_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_avx2.code8_rows(rows, query, ids, count, keys);
}
static void avx2_code4_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_avx2.code4_rows(rows, query, ids, count, keys);
}

#define KERNELS(title, code8, code4, sketch, next)                                                                     \
    {                                                                                                                  \
        .name = title, .dot = dot, .l2 = l2, .dot_rows = dot_rows, .l2_rows = l2_rows, .code8_rows = code8,            \
        .code4_rows = code4, .half_dot_rows = half_dot_rows, .half_l2_rows = half_l2_rows, .encode8 = encode8,         \
        .encode4 = encode4, .sketch_row = sketch_row, .sketch_query = sketch_query, .sketch_rows = sketch,             \
        .keep_between = keep_between, .next_rows = next, .pool_insert = pool_insert, .pool_offer = pool_offer,             \
        .restrict_rows = restrict_rows, .to_f16 = to_f16, .from_f16 = from_f16,                                                                        \
    }
const vk_kernels vk_avx512 = KERNELS("avx512", avx2_code8_rows, avx2_code4_rows, sketch_rows, next_rows);
const vk_kernels vk_avx512vnni = KERNELS("avx512vnni", code8_rows, code4_rows, sketch_rows, next_rows);
const vk_kernels vk_avx512popcnt = 
    KERNELS("avx512popcnt", code8_rows, code4_rows, popcnt_sketch_rows, popcnt_next_rows);
#endif
