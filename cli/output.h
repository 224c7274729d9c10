/* output: results on standard output, where a terminal must not obey what an image says.
 *
 * Ownership  Nothing is handed over.
 * Units      -
 * Errors     Reported: standard output cannot be written.
 * Threads    One thread.
 * Source     -
 */
#pragma once

#include <stddef.h>

#include <json-c/json_object.h>

/* Writes text; on a terminal control characters other than newline and tab become '?'. */
int output_text(const void *text, size_t size);
int output_string(const char *text);

/* Writes exactly these bytes. */
int output_raw(const void *data, size_t size);

/* Indented JSON and a newline. */
int output_json(struct json_object *o);

/* template_render(), a newline, output_text(). */
int output_format(const char *format, struct json_object *o);
