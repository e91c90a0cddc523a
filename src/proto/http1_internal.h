/* What the files of http1 share: the rules that llhttp leaves out, and lists in headers. */
#ifndef HALLEY_PROTO_HTTP1_INTERNAL_H
#define HALLEY_PROTO_HTTP1_INTERNAL_H

#include "proto/http1.h"

struct http1_request_line { /* RFC 9112 3 */
    struct slice method;
    struct slice target;
    struct slice version;
};

/* Cut a request line without its CRLF into its three parts. Returns false if it has not three, with one space between. */
bool http1_split_request_line(struct slice line, struct http1_request_line *ret_parts);

/* Hold a request line, whose bytes are all printable ASCII or spaces, against RFC 9112 2.3 and 3, as soon as it is there.
 * Returns 0, or minus the status with *ret_why, a static sentence. */
int http1_check_request_line(struct slice line, const char **ret_why);

/* Hold the headers against the rules on Host, Transfer-Encoding and Expect. rq has its minor, host (the first) and headers.
 * Returns as http1_check_request_line(). */
int http1_check_headers(const struct http1_request *rq, const char **ret_why);

/* The authority of a target in absolute-form, or a NULL ptr if it has another form (RFC 9112 3.2.2). */
struct slice http1_target_authority(struct slice target);

/* Walk the elements of the comma-separated list(s) of all headers of that name, empty ones left out (RFC 9110 5.6.1). Start
 * with an `at` of all zero. Returns false at the end. */
struct http1_list_at {
    size_t header;
    size_t offset;
};
bool http1_list_next(const struct http1_request *rq, const char *name, struct http1_list_at *at,
                     struct slice *ret_element);

#endif
