#include "vk_variants.h"

#include <math.h>
#include <string.h>

// Independent sums and maxima, so that the compiler may use the vector unit.
enum { lanes = 8 };

double vk_normalise(float *vector, size_t count) {
    double sums[lanes] = {0}, sum = 0;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int j = 0; j < lanes; j++) sums[j] += (double)vector[i + j] * vector[i + j];
    for (; i < count; i++) sum += (double)vector[i] * vector[i];
    for (int j = 0; j < lanes; j++) sum += sums[j];
    double length = sqrt(sum);
    if (length == 0 || length != length) return length;
    // Scaled in double: 1 / length overflows float for subnormal vectors.
    double scale = 1 / length;
    for (i = 0; i < count; i++) vector[i] = (float)(vector[i] * scale);
    return length;
}

static float largest_magnitude(const float *from, uint32_t count) {
    float most[lanes] = {0}, largest = 0;
    uint32_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int j = 0; j < lanes; j++) most[j] = fabsf(from[i + j]) > most[j] ? fabsf(from[i + j]) : most[j];
    for (; i < count; i++) largest = fabsf(from[i]) > largest ? fabsf(from[i]) : largest;
    for (int j = 0; j < lanes; j++) largest = most[j] > largest ? most[j] : largest;
    return largest;
}

void vk_encode(const float *restrict from, uint32_t dimension, int8_t *restrict codes, uint32_t code_stride, float *restrict terms) {
    const float largest = largest_magnitude(from, dimension), scale = 127 / largest, step = largest / 127;
    if (!(scale < INFINITY && scale > 0 && step > 0)) {
        // Zero, too small for a scale, or infinite: such a vector has no direction that codes could tell.
        memset(codes, 0, code_stride);
        terms[0] = terms[1] = 0;
        return;
    }
    int32_t squares = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        // Adding 1.5 * 2^23 leaves no bits below one: the sum is rounded to nearest even, its last bits are the integer.
        float scaled = from[i] * scale;
        float rounded = scaled + 0x1.8p23f;
        int32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        int32_t code = bits - 0x4b400000;
        codes[i] = (int8_t)code;
        squares += code * code;
    }
    memset(codes + dimension, 0, code_stride - dimension);
    terms[0] = step;
    terms[1] = (float)((double)squares * step * step);
}
