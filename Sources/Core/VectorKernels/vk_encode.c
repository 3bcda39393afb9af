#include "vk_variants.h"

#include <math.h>

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

float vk_largest(const float *from, const float *centre, size_t count) {
    float most[lanes] = {0}, largest = 0;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int j = 0; j < lanes; j++) {
            float x = fabsf(from[i + j] - centre[i + j]);
            most[j] = x > most[j] ? x : most[j];
        }
    for (; i < count; i++) largest = fabsf(from[i] - centre[i]) > largest ? fabsf(from[i] - centre[i]) : largest;
    for (int j = 0; j < lanes; j++) largest = most[j] > largest ? most[j] : largest;
    return largest;
}
