/* The files of src/web as bytes, compiled in: scripts/embed makes the C sources at build time. After the last byte there
 * is a zero, which the length does not count. */
#ifndef HALLEY_WEB_FILES_H
#define HALLEY_WEB_FILES_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t web_console_html[]; /* console.html, what GET / answers */
extern const size_t web_console_html_len;

#endif
