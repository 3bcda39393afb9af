// AVX-512: 16 floats or 64 codes at a time. The VNNI set differs by its integer kernels alone.
#include "vk_variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi")))
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
    const float *base = rows->floats;
    const size_t stride = rows->stride, dimension = rows->dimension;
    const __m128 one = _mm_set1_ps(1);
    for (size_t i = 0; i < count && i < 4; i++) prefetch_row(base + ids[i] * stride, dimension * 4);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t j = i + 4; j < count && j < i + 8; j++) prefetch_row(base + ids[j] * stride, dimension * 4);
        const float *const row[4] = {
            base + ids[i] * stride, base + ids[i + 1] * stride, base + ids[i + 2] * stride, base + ids[i + 3] * stride};
        __m128 value = measured(query->floats, row, dimension, l2, 4);
        store_keys(keys + i, keys_of(l2 ? value : _mm_sub_ps(one, value)), 4);
    }
    for (; i < count; i++) {
        const float *const row[4] = {base + ids[i] * stride};
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

INLINE_VNNI __m128i code_folded(const __m512i sums[4]) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]), _mm512_unpackhi_epi32(sums[0], sums[1]));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]), _mm512_unpackhi_epi32(sums[2], sums[3]));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/// VNNI multiplies unsigned by signed. A row with its sign bits flipped is `row + 128`, so each lane starts at minus 128
/// times its share of the query.
INLINE_VNNI __m512i code_start(const int8_t *query, size_t stride) {
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < stride; i += 64) sum = _mm512_dpbusd_epi32(sum, flip, _mm512_loadu_si512(query + i));
    return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
}

INLINE_VNNI __m128i code_measured(const int8_t *query, __m512i start, const int8_t *const row[4], size_t stride) {
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    __m512i sums[4] = {start, start, start, start};
    for (size_t i = 0; i < stride; i += 64) {
        __m512i q = _mm512_loadu_si512(query + i);
        for (int r = 0; r < 4; r++)
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_xor_si512(_mm512_load_si512(row[r] + i), flip), q);
    }
    return code_folded(sums);
}

/// Distances from exact integer products; the same three roundings in every variant.
INLINE_VNNI __m128i code_keys(const vk_rows *rows, const vk_query *query, const uint32_t ids[4], __m128i products, int l2) {
    const float *terms = rows->code_terms;
    const float *a = terms + 2 * (size_t)ids[0], *b = terms + 2 * (size_t)ids[1];
    const float *c = terms + 2 * (size_t)ids[2], *d = terms + 2 * (size_t)ids[3];
    __m128 steps = _mm_mul_ps(_mm_set1_ps(query->code_step), _mm_setr_ps(a[0], b[0], c[0], d[0]));
    __m128 value = _mm_mul_ps(_mm_cvtepi32_ps(products), steps);
    if (!l2) return keys_of(_mm_sub_ps(_mm_set1_ps(1), value));
    __m128 norms = _mm_add_ps(_mm_set1_ps(query->code_norm), _mm_setr_ps(a[1], b[1], c[1], d[1]));
    return keys_of(_mm_sub_ps(norms, _mm_add_ps(value, value)));
}

/// `stride` is a constant where dimensions are common: the loops unroll and the query stays in registers.
INLINE_VNNI void code_batch(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2, size_t stride) {
    const int8_t *base = rows->codes;
    const __m512i start = code_start(query->codes, stride);
    for (size_t i = 0; i < count && i < 4; i++) {
        prefetch_row(base + ids[i] * stride, stride);
        _mm_prefetch((const char *)(rows->code_terms + 2 * (size_t)ids[i]), _MM_HINT_T0);
    }
    for (size_t i = 0; i < count; i += 4) {
        size_t width = count - i < 4 ? count - i : 4;
        for (size_t j = i + 4; j < count && j < i + 8; j++) {
            prefetch_row(base + ids[j] * stride, stride);
            _mm_prefetch((const char *)(rows->code_terms + 2 * (size_t)ids[j]), _MM_HINT_T0);
        }
        // A short last group repeats its first row: the cache has it.
        uint32_t id[4];
        for (size_t j = 0; j < 4; j++) id[j] = ids[j < width ? i + j : i];
        const int8_t *const row[4] = {base + id[0] * stride, base + id[1] * stride, base + id[2] * stride, base + id[3] * stride};
        store_keys(keys + i, code_keys(rows, query, id, code_measured(query->codes, start, row, stride), l2), width);
    }
}

INLINE_VNNI void code_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    switch (rows->code_stride) {
    case 128: code_batch(rows, query, ids, count, keys, l2, 128); break;
    case 384: code_batch(rows, query, ids, count, keys, l2, 384); break;
    case 768: code_batch(rows, query, ids, count, keys, l2, 768); break;
    default: code_batch(rows, query, ids, count, keys, l2, rows->code_stride);
    }
}

TARGET_VNNI static void code_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    code_rows(rows, query, ids, count, keys, 0);
}
TARGET_VNNI static void code_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    code_rows(rows, query, ids, count, keys, 1);
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
static int32_t avx2_code_dot(const int8_t *a, const int8_t *b, size_t count) { return vk_avx2.code_dot(a, b, count); }
static void avx2_code_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_avx2.code_dot_rows(rows, query, ids, count, keys);
}
static void avx2_code_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_avx2.code_l2_rows(rows, query, ids, count, keys);
}

const vk_kernels vk_avx512 = {
    .name = "avx512",
    .dot = dot,
    .l2 = l2,
    .code_dot = avx2_code_dot,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code_dot_rows = avx2_code_dot_rows,
    .code_l2_rows = avx2_code_l2_rows,
    .pool_insert = pool_insert,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};

const vk_kernels vk_avx512vnni = {
    .name = "avx512vnni",
    .dot = dot,
    .l2 = l2,
    .code_dot = avx2_code_dot,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code_dot_rows = code_dot_rows,
    .code_l2_rows = code_l2_rows,
    .pool_insert = pool_insert,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
#endif
