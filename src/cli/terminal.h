/* What people see: colours, numbers with separators, and other people's bytes made harmless. */
#ifndef HALLEY_CLI_TERMINAL_H
#define HALLEY_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum terminal_style { TERMINAL_PLAIN, TERMINAL_BOLD, TERMINAL_DIM, TERMINAL_NAME, TERMINAL_ERROR, TERMINAL_STYLES };

bool terminal_is(FILE *f);

/* The escape sequence that switches a style on, or "" where colour is not wanted: f is no terminal, NO_COLOR is set
 * (no-color.org), or TERM is dumb. TERMINAL_PLAIN switches every style off again. */
const char *terminal_style(FILE *f, enum terminal_style style);

/* Print bytes that a stranger may have written. A terminal obeys control characters in them, so there C0 (but tab), DEL
 * and C1 become \n, \r or \xNN; a pipe or file gets the bytes as they are. */
void terminal_write(FILE *f, const char *bytes, size_t len);

/* 1234567 as "1,234,567". Returns out, which holds at least TERMINAL_NUMBER bytes. */
#define TERMINAL_NUMBER 32
const char *terminal_number(uint64_t n, char *out);

/* A number of seconds as "2 d 4 h", of bytes as "1.5 GB" (powers of 1024): two units at most. Return out. */
const char *terminal_duration(uint64_t seconds, char *out, size_t out_size);
const char *terminal_size(uint64_t bytes, char *out, size_t out_size);

#endif
