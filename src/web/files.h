/* The files of src/web as bytes, compiled in: scripts/embed makes the C sources at build time. After the last byte there
 * is a zero, which the length does not count. */
#ifndef HALLEY_WEB_FILES_H
#define HALLEY_WEB_FILES_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t web_console_html[]; /* console.html, what GET / answers */
extern const size_t web_console_html_len;

/* halley.js as it is served, made by scripts/client-js: the module, and the same as a classic script. */
extern const uint8_t web_halley_js[];
extern const size_t web_halley_js_len;
extern const uint8_t web_halley_classic_js[];
extern const size_t web_halley_classic_js_len;
extern const uint8_t web_halley_share_js[]; /* one connection for all tabs of a browser */
extern const size_t web_halley_share_js_len;
extern const uint8_t web_halley_d_ts[];
extern const size_t web_halley_d_ts_len;

#endif
