#include "histogram.h"

static unsigned bucket_of(uint64_t ns) {
    if (ns < (1u << SUB_BITS)) return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((ns >> shift) & ((1u << SUB_BITS) - 1));
}

static uint64_t value_of(unsigned bucket) {
    if (bucket < (1u << SUB_BITS)) return bucket;
    unsigned shift = (bucket >> SUB_BITS) - 1;
    return ((uint64_t)((1u << SUB_BITS) + (bucket & ((1u << SUB_BITS) - 1)))) << shift;
}

void histogram_add(struct histogram *h, uint64_t ns) {
    h->counts[bucket_of(ns)]++;
    h->total++;
    h->sum += ns;
    if (ns > h->max) h->max = ns;
}

uint64_t histogram_at(const struct histogram *h, double quantile) {
    uint64_t wanted = (uint64_t)(quantile * (double)h->total), passed = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        passed += h->counts[i];
        if (passed > wanted) return value_of(i);
    }
    return h->max;
}

void histogram_print(const struct histogram *h, FILE *out) {
    double mean = h->total ? (double)h->sum / (double)h->total : 0;
    fprintf(out,
        "{\"count\": %llu, \"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
        "\"p999_us\": %.1f, \"max_us\": %.1f}",
        (unsigned long long)h->total, mean / 1e3, (double)histogram_at(h, .5) / 1e3,
        (double)histogram_at(h, .9) / 1e3, (double)histogram_at(h, .99) / 1e3,
        (double)histogram_at(h, .999) / 1e3, (double)h->max / 1e3);
}
