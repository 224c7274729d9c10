/* template: --format texts, the part of Go's templates that people use with docker and podman.
 *
 * {{.Field.Sub}} {{.}} {{json .Field}} {{len .Field}} {{index .Field 0}} {{join .Field ","}}
 * {{range .Field}}...{{end}}, and \n, \t in the text. A field is found by its name, else without regard to
 * case and "_". Lists are written as [a b], objects as map[k:v], as Go does.
 *
 * Ownership  Appends to the caller's bytes.
 * Units      -
 * Errors     -EINVAL, reported: what in the template is wrong. -ENOMEM.
 * Threads    Any.
 * Source     Go's text/template, by its documentation.
 */
#pragma once

#include <json-c/json_object.h>

#include "base/bytes.h"

int template_render(const char *format, struct json_object *o, struct bytes *ret);
