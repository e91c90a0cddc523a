/* What unit tests share: checks for inner loops, numbers that look random, and running out of memory on purpose. */
#ifndef HALLEY_TESTS_UNIT_SUPPORT_H
#define HALLEY_TESTS_UNIT_SUPPORT_H

#include <check.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/base.h"

/* For inner loops: Check writes to a pipe for each ck_assert, passed or not. */
#define HOLDS(cond) \
    do { \
        if (!(cond)) \
            ck_abort_msg("does not hold: %s", #cond); \
    } while (0)

#define TEXT(s) ((struct slice){ (s), strlen(s) })

static uint64_t rng;

static inline uint32_t below(uint32_t n) /* xorshift64* */
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * 0x2545f4914f6cdd1du) >> 33) % n;
}

/* Another seed for each run; the one that found something is given back as HALLEY_TEST_SEED. */
static inline void seed_random(void)
{
    const char *seed = getenv("HALLEY_TEST_SEED");
    rng = (seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)clock()) | 1;
    printf("HALLEY_TEST_SEED=%" PRIu64 "\n", rng);
    fflush(stdout);
}

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

/* From now on this process (each test has its own) has so much memory, all in all. Returns false under a sanitizer,
 * which needs more of it than there is: the test ends there. */
static inline bool limit_memory(size_t bytes)
{
    struct rlimit limit = { bytes, bytes };
    return !IS_SANITIZED && setrlimit(RLIMIT_AS, &limit) == 0;
}

static inline int run_suite(Suite *s) /* for main() */
{
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}

#endif
