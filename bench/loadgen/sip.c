#define _GNU_SOURCE
#include "sip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool named(const char *line, size_t name_length, const char *name, char compact) {
    if (name_length == 1) return (line[0] | 0x20) == compact;
    return name_length == strlen(name) && strncasecmp(line, name, name_length) == 0;
}

static void scan_header(const char *line, size_t length, struct sip *sip) {
    const char *colon = memchr(line, ':', length);
    if (!colon) return;
    size_t name_length = (size_t)(colon - line);
    while (name_length && line[name_length - 1] == ' ') name_length--;
    struct slice whole = {line, length};
    if (named(line, name_length, "Via", 'v')) {
        if (sip->via_count < MAX_VIAS) sip->vias[sip->via_count++] = whole;
    } else if (named(line, name_length, "From", 'f')) {
        sip->from = whole;
    } else if (named(line, name_length, "To", 't')) {
        sip->to = whole;
    } else if (named(line, name_length, "Call-ID", 'i')) {
        sip->call_id = whole;
    } else if (named(line, name_length, "CSeq", '\0')) {
        sip->cseq = whole;
    }
}

static void scan_start(const char *line, size_t length, struct sip *sip) {
    if (length > 12 && !memcmp(line, "SIP/2.0 ", 8)) {
        sip->status = atoi(line + 8);
        return;
    }
    sip->is_message = length > 8 && !memcmp(line, "MESSAGE ", 8);
    const char *uri = memchr(line, ' ', length);
    if (!uri) return;
    const char *end = memchr(uri + 1, ' ', length - (size_t)(uri + 1 - line));
    if (end) sip->uri = (struct slice){uri + 1, (size_t)(end - uri - 1)};
}

bool sip_scan(const char *data, size_t length, struct sip *sip) {
    memset(sip, 0, sizeof *sip);
    const char *end = data + length, *line = data;
    for (bool first = true; line < end; first = false) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (!newline) return false;
        size_t line_length = (size_t)(newline + 1 - line);
        if (line_length <= 2) { /* the empty line: the rest is the body */
            sip->body = (struct slice){newline + 1, (size_t)(end - newline - 1)};
            break;
        }
        if (first) scan_start(line, line_length, sip);
        else scan_header(line, line_length, sip);
        line = newline + 1;
    }
    return (sip->status || sip->uri.length) && sip->via_count && sip->from.length && sip->to.length &&
           sip->call_id.length && sip->cseq.length;
}

size_t sip_frame(const char *data, size_t length) {
    const char *blank = memmem(data, length, "\r\n\r\n", 4);
    if (!blank) return 0;
    size_t head = (size_t)(blank + 4 - data), body = 0;
    for (const char *line = data; line < blank;) {
        const char *newline = memchr(line, '\n', (size_t)(blank + 2 - line));
        if (!strncasecmp(line, "Content-Length:", 15)) body = strtoul(line + 15, NULL, 10);
        else if (!strncasecmp(line, "l:", 2)) body = strtoul(line + 2, NULL, 10);
        line = newline + 1;
    }
    return head + body <= length ? head + body : 0;
}

static char *put(char *out, const char *from, size_t length) {
    memcpy(out, from, length);
    return out + length;
}

static char *put_text(char *out, const char *text) { return put(out, text, strlen(text)); }

size_t sip_respond(const struct sip *request, const char *status, char *out) {
    char *at = put_text(out, "SIP/2.0 ");
    at = put_text(at, status);
    at = put_text(at, "\r\n");
    for (int i = 0; i < request->via_count; i++) at = put(at, request->vias[i].at, request->vias[i].length);
    at = put(at, request->from.at, request->from.length);
    at = put(at, request->to.at, request->to.length - 2);
    at = put_text(at, ";tag=bench\r\n");
    at = put(at, request->call_id.at, request->call_id.length);
    at = put(at, request->cseq.at, request->cseq.length);
    at = put_text(at, "Content-Length: 0\r\n\r\n");
    return (size_t)(at - out);
}

size_t sip_message(const struct sip_message *m, char *out) {
    return (size_t)snprintf(out, MAX_MESSAGE,
        "MESSAGE sip:%s@%s SIP/2.0\r\n"
        "Via: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s\r\n"
        "From: <sip:%s@%s%s>;tag=%s\r\n"
        "To: <sip:%s@%s>\r\n"
        "Call-ID: %s\r\n"
        "CSeq: 1 MESSAGE\r\n"
        "Max-Forwards: 70\r\n"
        "Content-Type: %s\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        m->room, m->domain, m->sent_by, m->call_id, m->user, m->domain, m->device, m->call_id, m->room, m->domain,
        m->call_id, m->type, strlen(m->body), m->body);
}
