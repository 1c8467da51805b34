/* Latencies in nanoseconds, kept to better than 2 % in log-linear buckets. */
#pragma once
#include <stdint.h>
#include <stdio.h>

enum { SUB_BITS = 6, BUCKETS = 64 << SUB_BITS };

struct histogram {
    uint64_t counts[BUCKETS], total, sum, max;
};

void histogram_add(struct histogram *histogram, uint64_t ns);
uint64_t histogram_at(const struct histogram *histogram, double quantile);
/* Prints {"count": …, "p50_us": …, …}. */
void histogram_print(const struct histogram *histogram, FILE *out);
