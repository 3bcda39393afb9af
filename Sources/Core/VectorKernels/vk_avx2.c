// AVX2 with FMA and F16C: 8 floats or 32 codes at a time, four rows at a time so that one load of the query serves four.
#include "vk_bitmap.h"
#include "vk_encode.h"
#include "vk_sketch.h"
#include "vk_variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c,popcnt")))
#define INLINE static inline __attribute__((always_inline)) TARGET

// Cache lines of a row asked for ahead of its turn; the hardware follows a longer one by itself.
enum { ahead = 32 };

INLINE void prefetch_row(const void *row, size_t bytes) {
    size_t lines = (bytes + 63) / 64;
    for (size_t i = 0; i < lines && i < ahead; i++) _mm_prefetch((const char *)row + 64 * i, _MM_HINT_T0);
}

/// Loads the first `count` (below 8) floats, zero behind them, touching no byte more.
INLINE __m256 load_part(const float *from, size_t count) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), index));
}

INLINE __m256 step(__m256 sum, __m256 query, __m256 row, int l2) {
    if (!l2) return _mm256_fmadd_ps(query, row, sum);
    __m256 difference = _mm256_sub_ps(query, row);
    return _mm256_fmadd_ps(difference, difference, sum);
}

/// The four horizontal sums.
INLINE __m128 folded(const __m256 sums[4]) {
    __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

/// Dot products or squared distances of `query` with `width` (1 to 4) rows. Two sums a row hide the latency of FMA; the
/// order of addition does not depend on `width`.
INLINE __m128 measured(const float *query, const float *const row[4], size_t dimension, int l2, int width) {
    __m256 even[4], odd[4];
    for (int r = 0; r < 4; r++) even[r] = odd[r] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        __m256 q0 = _mm256_loadu_ps(query + i), q1 = _mm256_loadu_ps(query + i + 8);
        for (int r = 0; r < width; r++) {
            even[r] = step(even[r], q0, _mm256_loadu_ps(row[r] + i), l2);
            odd[r] = step(odd[r], q1, _mm256_loadu_ps(row[r] + i + 8), l2);
        }
    }
    if (i + 8 <= dimension) {
        __m256 q0 = _mm256_loadu_ps(query + i);
        for (int r = 0; r < width; r++) even[r] = step(even[r], q0, _mm256_loadu_ps(row[r] + i), l2);
        i += 8;
    }
    if (i < dimension) {
        __m256 q0 = load_part(query + i, dimension - i);
        for (int r = 0; r < width; r++) odd[r] = step(odd[r], q0, load_part(row[r] + i, dimension - i), l2);
    }
    for (int r = 0; r < width; r++) even[r] = _mm256_add_ps(even[r], odd[r]);
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
    if (count >= 4) {
        _mm_storeu_si128((__m128i *)keys, four);
        return;
    }
    uint32_t kept[4];
    _mm_storeu_si128((__m128i *)kept, four);
    for (size_t i = 0; i < count; i++) keys[i] = kept[i];
}

INLINE void float_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t dimension = rows->dimension;
    const __m128 one = _mm_set1_ps(1);
    for (size_t i = 0; i < count && i < 4; i++) prefetch_row(vk_floats(rows, ids[i]), dimension * 4);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t j = i + 4; j < count && j < i + 8; j++) prefetch_row(vk_floats(rows, ids[j]), dimension * 4);
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

INLINE __m128i code_folded(const __m256i sums[4]) {
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

/// Distances from exact integer products; the same roundings in every variant.
INLINE __m128i code_keys(const vk_rows *rows, const vk_query *query, const uint32_t four[4], __m128i products) {
    const float *a = rows->terms + 2 * (size_t)four[0], *b = rows->terms + 2 * (size_t)four[1];
    const float *c = rows->terms + 2 * (size_t)four[2], *d = rows->terms + 2 * (size_t)four[3];
    __m128 steps = _mm_mul_ps(_mm_set1_ps(query->scale), _mm_setr_ps(a[0], b[0], c[0], d[0]));
    __m128 biases = _mm_add_ps(_mm_set1_ps(query->bias), _mm_setr_ps(a[1], b[1], c[1], d[1]));
    return keys_of(_mm_add_ps(biases, _mm_mul_ps(_mm_cvtepi32_ps(products), steps)));
}

INLINE void prefetch_coded(const vk_rows *rows, uint32_t id, size_t stride) {
    prefetch_row(rows->codes + id * stride, stride);
    _mm_prefetch((const char *)(rows->terms + 2 * (size_t)id), _MM_HINT_T0);
}

/// `maddubs` wants one unsigned side: |query|, its sign moved to the row. No pair exceeds 2 * 127 * 128, so its 16-bit sums
/// never saturate.
INLINE __m128i code8_measured(const int8_t *query, __m256i flip, const uint8_t *const row[4], size_t stride) {
    const __m256i sign = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    __m256i sums[4];
    for (int r = 0; r < 4; r++) sums[r] = _mm256_setzero_si256();
    for (size_t i = 0; i < stride; i += 32) {
        __m256i q = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(query + i)), flip), magnitude = _mm256_abs_epi8(q);
        for (int r = 0; r < 4; r++) {
            __m256i x = _mm256_xor_si256(_mm256_load_si256((const __m256i *)(row[r] + i)), sign);
            __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, q));
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
        }
    }
    return code_folded(sums);
}

/// Pairs of products are at most 2 * 15 * 127: those of low and high halves add up in 16 bits.
INLINE __m128i code4_measured(const int8_t *query, const uint8_t *const row[4], size_t stride) {
    const __m256i low = _mm256_set1_epi8(0x0f), ones = _mm256_set1_epi16(1);
    __m256i sums[4];
    for (int r = 0; r < 4; r++) sums[r] = _mm256_setzero_si256();
    for (size_t i = 0; i < stride; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(query + i));
        __m256i y = _mm256_loadu_si256((const __m256i *)(query + stride + i));
        for (int r = 0; r < 4; r++) {
            __m256i v = _mm256_load_si256((const __m256i *)(row[r] + i));
            __m256i pairs = _mm256_add_epi16(
                _mm256_maddubs_epi16(_mm256_and_si256(v, low), x),
                _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 4), low), y));
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
        }
    }
    return code_folded(sums);
}

INLINE void code_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int bits) {
    const size_t stride = rows->code_stride;
    const __m256i flip = _mm256_set1_epi8(query->is_row ? (char)0x80 : 0);
    for (size_t i = 0; i < count && i < 4; i++) prefetch_coded(rows, ids[i], stride);
    for (size_t i = 0; i < count; i += 4) {
        size_t width = count - i < 4 ? count - i : 4;
        for (size_t j = i + 4; j < count && j < i + 8; j++) prefetch_coded(rows, ids[j], stride);
        uint32_t four[4];
        take_four(ids, i, width, four);
        const uint8_t *const row[4] = {
            rows->codes + four[0] * stride, rows->codes + four[1] * stride, rows->codes + four[2] * stride,
            rows->codes + four[3] * stride};
        __m128i products = bits == 8
            ? code8_measured(query->codes, flip, row, stride)
            : _mm_sub_epi32(_mm_slli_epi32(code4_measured(query->codes, row, stride), 1), _mm_set1_epi32(query->offset));
        store_keys(keys + i, code_keys(rows, query, four, products), width);
    }
}

TARGET static void code8_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    code_rows(rows, query, ids, count, keys, 8);
}
TARGET static void code4_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    code_rows(rows, query, ids, count, keys, 4);
}

INLINE void half_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t stride = rows->half_stride;
    const __m128 scale = _mm_set1_ps(query->scale), bias = _mm_set1_ps(query->bias);
    for (size_t i = 0; i < count && i < 4; i++) prefetch_row(rows->halves + ids[i] * stride, stride * 2);
    for (size_t i = 0; i < count; i += 4) {
        size_t width = count - i < 4 ? count - i : 4;
        for (size_t j = i + 4; j < count && j < i + 8; j++) prefetch_row(rows->halves + ids[j] * stride, stride * 2);
        uint32_t four[4];
        take_four(ids, i, width, four);
        __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (size_t k = 0; k < stride; k += 8) {
            __m256 q = _mm256_loadu_ps(query->floats + k);
            for (int r = 0; r < 4; r++) {
                __m128i halves = _mm_load_si128((const __m128i *)(rows->halves + four[r] * stride + k));
                sums[r] = step(sums[r], q, _mm256_cvtph_ps(halves), l2);
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

INLINE uint32_t signs(const float *x) {
    const __m256 zero = _mm256_setzero_ps();
    int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), zero, _CMP_GE_OQ));
    int high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + 8), zero, _CMP_GE_OQ));
    return (uint32_t)low | (uint32_t)high << 8;
}
TARGET static vk_coded sketch_row(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_row_body(from, centre, dimension, words, signs);
}
TARGET static vk_coded sketch_query(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_query_body(from, centre, dimension, words, signs);
}
TARGET static void sketch_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_sketch_rows_body(rows, query, ids, count, keys);
}
TARGET static size_t keep_between(const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept) {
    return vk_keep_between_body(keys, ids, count, least, most, kept);
}
TARGET static size_t next_rows(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    return vk_next_rows(bitmap, row, end, limit, ids);
}

TARGET static size_t pool_insert(uint64_t *pool, size_t size, size_t capacity, uint64_t entry) {
    const __m256i top = _mm256_set1_epi64x((long long)0x8000000000000000);  // the comparison is signed, the entries are not
    const __m256i limit = _mm256_xor_si256(_mm256_set1_epi64x((long long)entry), top);
    // From the back, where most entries land; the zeros before the pool end it.
    for (ptrdiff_t i = (ptrdiff_t)(size < capacity ? size : capacity - 1) - 4;; i -= 4) {
        __m256i four = _mm256_loadu_si256((const __m256i *)(pool + i));
        __m256i greater = _mm256_cmpgt_epi64(_mm256_xor_si256(four, top), limit);
        int mask = _mm256_movemask_pd(_mm256_castsi256_pd(greater));
        if (mask == 0xf) {
            _mm256_storeu_si256((__m256i *)(pool + i + 1), four);
            continue;
        }
        _mm256_maskstore_epi64((long long *)(pool + i + 1), greater, four);
        size_t at = (size_t)(i + __builtin_ctz((unsigned)mask | 16));
        pool[at] = entry;
        return at;
    }
}

TARGET static size_t pool_offer(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count, size_t *lowest) {
    return vk_pool_offer_body(pool, size, capacity, keys, ids, count, lowest, pool_insert);
}

TARGET static size_t restrict_rows(uint64_t *to, const uint64_t *allowed, const uint64_t *deleted, size_t words) {
    return vk_restrict_rows_body(to, allowed, deleted, words);
}

TARGET static void to_f16(const float *from, uint16_t *to, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    vk_portable.to_f16(from + i, to + i, count - i);
}
TARGET static void from_f16(const uint16_t *from, float *to, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    vk_portable.from_f16(from + i, to + i, count - i);
}

const vk_kernels vk_avx2 = {
    .name = "avx2",
    .dot = dot,
    .l2 = l2,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code8_rows = code8_rows,
    .code4_rows = code4_rows,
    .half_dot_rows = half_dot_rows,
    .half_l2_rows = half_l2_rows,
    .encode8 = encode8,
    .encode4 = encode4,
    .sketch_row = sketch_row,
    .sketch_query = sketch_query,
    .sketch_rows = sketch_rows,
    .keep_between = keep_between,
    .next_rows = next_rows,
    .pool_insert = pool_insert,
    .pool_offer = pool_offer,
    .restrict_rows = restrict_rows,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
#endif
