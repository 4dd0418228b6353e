/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Text that users hand in. Pure functions. */

/* Whether TEXT is well-formed UTF-8 (no overlong forms, surrogates or values past U+10FFFF) without
 * control characters (C0, DEL, C1) and line or paragraph separators. */
bool text_is_printable(const char *text);

/* TEXT for an error message: every byte that is not printable ASCII becomes '?', and what does not
 * fit ends in "...". Such a message fits into a log line and into JSON wherever it is cut. */
#define TEXT_QUOTED_MAX 68
void text_quote(const char *text, char ret[TEXT_QUOTED_MAX]);
