// Coding of a vector, in plain C that each variant compiles for its own instruction set. Sums run in a fixed number of lanes
// and nothing is fused, so all variants give the same bits.
#pragma once

#include "include/VectorKernels.h"

#include <math.h>
#include <string.h>

#define VK_ENCODE static inline __attribute__((always_inline))

enum { vk_lanes = 16 };

/// Adding 1.5 * 2^23 leaves no bits below one: the sum is rounded to nearest even, and its last bits are the integer.
VK_ENCODE int32_t vk_nearest(float value) {
    float rounded = value + 0x1.8p23f;
    int32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    return bits - 0x4b400000;
}

VK_ENCODE float vk_fold(const float *sums) {
    float half[vk_lanes / 2];
    for (int j = 0; j < vk_lanes / 2; j++) half[j] = sums[j] + sums[j + vk_lanes / 2];
    return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

/// Runs `BODY` for every component `x`, the vector less its centre, in lane `j`.
#define VK_EACH_COMPONENT(BODY)                                             \
    do {                                                                    \
        uint32_t i = 0;                                                     \
        for (; i + vk_lanes <= dimension; i += vk_lanes)                    \
            for (uint32_t j = 0; j < vk_lanes; j++) {                       \
                float x = centre ? from[i + j] - centre[i + j] : from[i + j]; \
                BODY                                                        \
            }                                                               \
        for (uint32_t j = 0; i + j < dimension; j++) {                      \
            float x = centre ? from[i + j] - centre[i + j] : from[i + j];   \
            BODY                                                            \
        }                                                                   \
    } while (0)

VK_ENCODE vk_coded vk_encode8_body(
    const float *restrict from, const float *restrict centre, uint32_t dimension, uint8_t *restrict codes, uint32_t stride,
    uint8_t flip) {
#pragma STDC FP_CONTRACT OFF
    float most[vk_lanes] = {0}, squares[vk_lanes] = {0}, cross[vk_lanes] = {0}, along[vk_lanes] = {0}, largest = 0;
    int32_t sums[vk_lanes] = {0};
    VK_EACH_COMPONENT(most[j] = fabsf(x) > most[j] ? fabsf(x) : most[j];);
    for (int j = 0; j < vk_lanes; j++) largest = most[j] > largest ? most[j] : largest;
    vk_coded coded = {0};
    const float scale = 127 / largest;
    if (!(scale < INFINITY && scale > 0 && largest / 127 > 0)) {
        // Zero, too small for a scale, or infinite: such a vector has no direction that codes could tell.
        memset(codes, flip, stride);
        return coded;
    }
    VK_EACH_COMPONENT({
        int32_t code = vk_nearest(x * scale);
        codes[i + j] = (uint8_t)(code + flip);
        squares[j] += x * x;
        cross[j] += x * (float)code;
        sums[j] += code;
    });
    if (centre) VK_EACH_COMPONENT(along[j] += x * centre[i + j];);
    memset(codes + dimension, flip, stride - dimension);
    coded.step = largest / 127;
    coded.squares = vk_fold(squares);
    coded.cross = coded.step * vk_fold(cross);
    coded.along = vk_fold(along);
    for (int j = 0; j < vk_lanes; j++) coded.sum += sums[j];
    return coded;
}

/// The level of a component, 0...15, when one step is `1 / scale`.
VK_ENCODE int32_t vk_level(float x, float scale) {
    float level = x * scale + 7.5f;
    level = level < 0 ? 0 : level;
    level = level > 15 ? 15 : level;
    return vk_nearest(level);
}

VK_ENCODE vk_coded vk_encode4_body(
    const float *restrict from, const float *restrict centre, uint32_t dimension, uint8_t *restrict codes, uint32_t stride) {
#pragma STDC FP_CONTRACT OFF
    float most[vk_lanes] = {0}, squares[vk_lanes] = {0}, along[vk_lanes] = {0}, largest = 0;
    VK_EACH_COMPONENT({
        most[j] = fabsf(x) > most[j] ? fabsf(x) : most[j];
        squares[j] += x * x;
    });
    for (int j = 0; j < vk_lanes; j++) largest = most[j] > largest ? most[j] : largest;
    memset(codes, 0, stride);
    vk_coded coded = {0};
    const float square = vk_fold(squares), deviation = sqrtf(square / (float)dimension);
    if (!(square < INFINITY && deviation > 0 && 1 / deviation < INFINITY)) return coded;
    // Where to clip, in standard deviations: the farther, the coarser. What keeps most of the vector's length wins.
    static const float clips[] = {1.6f, 2, 2.4f, 2.8f, 3.3f, 4, INFINITY};
    float bestKept = -1, bestScale = 0, bestStep = 0;
    for (unsigned c = 0; c < sizeof clips / sizeof *clips; c++) {
        const float clip = clips[c] * deviation < largest ? clips[c] * deviation : largest, scale = 7.5f / clip;
        float product[vk_lanes] = {0}, length[vk_lanes] = {0};
        VK_EACH_COMPONENT({
            float level = (float)vk_level(x, scale) - 7.5f;
            product[j] += x * level;
            length[j] += level * level;
        });
        const float both = vk_fold(product), codeSquares = vk_fold(length), kept = both / codeSquares * both;
        if (kept > bestKept) {
            bestKept = kept;
            bestScale = scale;
            bestStep = both / codeSquares;
        }
        if (clip == largest) break;
    }
    float cross[vk_lanes] = {0};
    int32_t sums[vk_lanes] = {0};
    // Two halves, so that each byte is written whole; both are multiples of nothing, so one by one at the seam.
    VK_EACH_COMPONENT({
        int32_t level = vk_level(x, bestScale);
        cross[j] += x * ((float)level - 7.5f);
        sums[j] += level;
        uint32_t at = i + j;
        if (at < stride) codes[at] = (uint8_t)level;
        else codes[at - stride] |= (uint8_t)(level << 4);
    });
    if (centre) VK_EACH_COMPONENT(along[j] += x * centre[i + j];);
    coded.step = bestStep;
    coded.squares = square;
    coded.cross = bestStep * vk_fold(cross);
    coded.along = vk_fold(along);
    for (int j = 0; j < vk_lanes; j++) coded.sum += sums[j];
    return coded;
}
