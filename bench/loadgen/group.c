#define _GNU_SOURCE
#include "group.h"

#include <ctype.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

unsigned run;

static void *room_for(size_t count, size_t size) {
    void *room = calloc(count, size);
    if (!room) errx(2, "not enough memory for %zu x %zu bytes", count, size);
    return room;
}

void group_open(struct group *g) {
    /* Far more records than messages in flight, to recognise late doubles. */
    for (g->capacity = 1 << 17; g->capacity > 1024 && (uint64_t)g->capacity * g->members > 1u << 26;) g->capacity >>= 1;
    size_t users = (size_t)g->rooms * g->members;
    g->records = room_for(g->capacity, sizeof *g->records);
    g->seen = room_for((size_t)g->capacity * g->members, sizeof *g->seen);
    g->last = room_for(users, sizeof *g->last);
    g->busy = room_for(users, sizeof *g->busy);
    g->open_room = g->capacity;
    g->open = room_for(g->open_room, sizeof *g->open);
}

struct record *group_find(struct group *g, uint64_t sequence) {
    struct record *record = &g->records[sequence & (g->capacity - 1)];
    return record->sequence == sequence && sequence < g->next_sequence ? record : NULL;
}

static bool *busy(struct group *g, const struct record *r) { return &g->busy[(size_t)r->room * g->members + r->sender]; }

struct record *group_new(struct group *g, enum kind kind, uint32_t room, uint32_t sender, uint64_t now) {
    uint64_t sequence = g->next_sequence++;
    struct record *record = &g->records[sequence & (g->capacity - 1)];
    if (record->open) {
        g->totals.lost += record->remaining;
        group_close(g, record);
    }
    *record = (struct record){.sequence = sequence, .sent = now, .room = room, .sender = sender, .kind = kind,
        .interval = 500000000, .next_retransmission = now + 500000000, .open = true,
        .remaining = kind == CHAT ? (g->half_offline ? (g->members + 1) / 2 : g->members) - 1 : 0};
    memset(&g->seen[(sequence & (g->capacity - 1)) * g->members], 0, g->members * sizeof *g->seen);
    g->open[g->open_count++] = sequence;
    *busy(g, record) = true;
    return record;
}

/* In a room of two, the first member sends seven of eight messages. Two who only ever answer each other are a loop of
 * programs, which imc mutes. */
#define TURNS 4

struct record *group_next_chat(struct group *g, uint64_t now) {
    uint64_t users = (uint64_t)g->rooms * g->members;
    for (unsigned tries = 0; tries < 64; tries++) {
        uint64_t at = g->cursor++ % users;
        uint32_t room = (uint32_t)(at % g->rooms);
        uint32_t sender = (uint32_t)(at / g->rooms);
        if (g->members == 2 && g->cursor / users % TURNS) sender = 0;
        if (g->half_offline && sender % 2) continue;
        if (!g->busy[(size_t)room * g->members + sender]) return group_new(g, CHAT, room, sender, now);
    }
    return NULL;
}

void group_close(struct group *g, struct record *record) {
    record->open = false;
    *busy(g, record) = false;
    for (unsigned i = 0; i < g->open_count; i++) {
        if (g->open[i] != record->sequence) continue;
        g->open[i] = g->open[--g->open_count];
        return;
    }
}

void group_body(const struct group *g, const struct record *record, char *out) {
    int length = snprintf(out, BODY + 1, "imcbench %x %u %llu ", run, g->id, (unsigned long long)record->sequence);
    memset(out + length, 'a' + (int)(record->sequence % 26), BODY - (size_t)length);
    out[BODY] = 0;
}

static uint32_t digest(struct slice text) {
    uint32_t sum = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < text.length; i++) sum = (sum ^ (unsigned char)text.at[i]) * 16777619u;
    return sum ? sum : 1;
}

/* The member a delivery is addressed to, by its request URI; -1: not one of this message's recipients. */
static long recipient(const struct group *g, const struct record *r, struct slice uri) {
    unsigned id, room, member;
    char text[64] = {0};
    memcpy(text, uri.at, uri.length < 63 ? uri.length : 63);
    if (sscanf(text, "sip:u-%u-%u-%u@", &id, &room, &member) != 3) return -1;
    return id == g->id && room == r->room && member < g->members && member != r->sender ? (long)member : -1;
}

static bool body_as_sent(const struct group *g, const struct record *r, struct slice body, const char *text) {
    char sent[BODY + 1], sender[64];
    group_body(g, r, sent);
    size_t length = (size_t)snprintf(sender, sizeof sender, "u-%u-%u-%u", g->id, r->room, r->sender);
    size_t prefix = (size_t)(text - body.at); /* both systems put the sender before the text, in different forms */
    const char *named = memmem(body.at, prefix, sender, length);
    return body.length - prefix == BODY && !memcmp(text, sent, BODY) && named && !isdigit(named[length]);
}

static void finish(struct group *g, struct record *r, uint64_t now, uint64_t begin, uint64_t end) {
    if (r->remaining || !r->accepted) return;
    if (now >= begin && now < end) g->totals.completed++;
    if (r->open) group_close(g, r);
}

void group_delivered(struct group *g, const struct sip *delivery, uint64_t sequence, const char *text,
                     uint64_t now, uint64_t begin, uint64_t end) {
    struct record *r = group_find(g, sequence);
    if (!r) {
        g->totals.late++;
        return;
    }
    long member = recipient(g, r, delivery->uri);
    if (member < 0 || !body_as_sent(g, r, delivery->body, text)) {
        if (!g->totals.wrong++)
            fprintf(stderr, "first wrong delivery: %.*s: %.*s\n", (int)delivery->uri.length, delivery->uri.at,
                    (int)delivery->body.length, delivery->body.at);
        return;
    }
    uint32_t *seen = &g->seen[(sequence & (g->capacity - 1)) * g->members + (size_t)member];
    uint32_t call = digest(delivery->call_id);
    if (*seen) {
        *(*seen == call ? &g->totals.repeated : &g->totals.doubled) += 1;
        return;
    }
    *seen = call;
    if (now >= begin && now < end) g->totals.deliveries++;
    /* It was sent after the 202 of the other message, so it must not arrive before it at the same member. */
    uint64_t *last = &g->last[(size_t)r->room * g->members + (size_t)member];
    if (r->accepted && r->accepted < *last) g->totals.reordered++;
    if (r->sent > *last) *last = r->sent;
    if (r->given_up) g->totals.lost--;
    if (--r->remaining) return;
    if (r->sent >= begin && r->sent < end) histogram_add(&g->delivered, now - r->sent);
    finish(g, r, now, begin, end);
}

void group_responded(struct group *g, struct record *r, int status, uint64_t now, uint64_t begin, uint64_t end) {
    if (status < 200 || r->accepted) return;
    r->accepted = now;
    if (status >= 300) {
        g->totals.refused++;
        r->remaining = 0;
    } else if (r->sent >= begin && r->sent < end) {
        g->totals.accepted++;
        histogram_add(&g->accepted, now - r->sent);
    }
    *busy(g, r) = false;
    finish(g, r, now, begin, end);
}

void group_print(const struct group *g, FILE *out) {
    const struct totals *t = &g->totals;
    fprintf(out, "{\"group\": %u, \"rooms\": %u, \"members\": %u, \"outstanding\": %u, \"rate\": %.1f", g->id,
            g->rooms, g->members, g->outstanding, g->rate);
    struct { const char *name; long long value; } counts[] = {
        {"sent", (long long)t->sent}, {"accepted", (long long)t->accepted}, {"completed", (long long)t->completed},
        {"deliveries", (long long)t->deliveries}, {"retransmitted", (long long)t->retransmitted},
        {"no_response", (long long)t->no_response}, {"refused", (long long)t->refused},
        {"repeated", (long long)t->repeated}, {"doubled", (long long)t->doubled}, {"wrong", (long long)t->wrong},
        {"reordered", (long long)t->reordered}, {"late", (long long)t->late}, {"notices", (long long)t->notices},
        {"earlier", (long long)t->earlier}, {"earlier_in_window", (long long)t->earlier_in_window},
        {"lost", t->lost}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fprintf(out, ", \"%s\": %lld", counts[i].name, counts[i].value);
    fprintf(out, ", \"delivered_latency\": ");
    histogram_print(&g->delivered, out);
    fprintf(out, ", \"accepted_latency\": ");
    histogram_print(&g->accepted, out);
    fprintf(out, "}");
}
