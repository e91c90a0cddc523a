/* Which content codings a client takes (RFC 9110 12.5.3). */
#include <string.h>

#include "base/slice.h"
#include "proto/http1.h"

/* 12.4.2: 0 to 1 with up to three decimals, in thousandths; -1: it is no weight. */
static int parse_weight(struct slice s)
{
    int weight, unit = 100;
    if (s.len == 0 || s.len > 5 || (s.ptr[0] != '0' && s.ptr[0] != '1') || (s.len > 1 && s.ptr[1] != '.'))
        return -1;
    weight = s.ptr[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return -1;
        weight += (s.ptr[i] - '0') * unit;
    }
    return weight > 1000 ? -1 : weight;
}

/* Cut off what stands before c, or all; *s goes on behind it. */
static struct slice cut(struct slice *s, char c)
{
    const char *at = s->len == 0 ? NULL : memchr(s->ptr, c, s->len);
    struct slice before = { s->ptr, at == NULL ? s->len : (size_t)(at - s->ptr) };
    size_t used = at == NULL ? s->len : before.len + 1;
    *s = (struct slice){ s->ptr + used, s->len - used };
    return slice_trim(before);
}

struct codings { /* weights in thousandths; -1: not named */
    int gzip;
    int identity;
    int other; /* of `*` */
};

static void take_element(struct slice element, struct codings *c)
{
    struct slice coding = cut(&element, ';'), parameter = slice_trim(element);
    int weight = 1000;
    if (parameter.len > 0) {
        struct slice name = cut(&parameter, '=');
        weight = slice_equals_nocase(name, "q") ? parse_weight(slice_trim(parameter)) : -1;
    }
    if (weight < 0)
        return; /* nothing that could be understood */
    if (slice_equals_nocase(coding, "gzip") || slice_equals_nocase(coding, "x-gzip"))
        c->gzip = weight;
    else if (slice_equals_nocase(coding, "identity"))
        c->identity = weight;
    else if (slice_equals(coding, "*"))
        c->other = weight;
}

bool http1_accepts_gzip(const struct http1_request *rq)
{
    struct codings c = { -1, -1, -1 };
    for (size_t i = 0; i < rq->header_count; i++) {
        struct slice list = rq->headers[i].value;
        if (!slice_equals_nocase(rq->headers[i].name, "Accept-Encoding"))
            continue;
        while (list.len > 0)
            take_element(cut(&list, ','), &c);
    }
    int gzip = c.gzip < 0 ? c.other : c.gzip;
    return gzip > 0 && gzip >= c.identity;
}
