/* program: the two executables, and where the second one is.
 *
 * Ownership  Texts are written into the caller's buffer.
 * Units      -
 * Errors     -ENOENT, reported with where it was looked for.
 * Threads    Any.
 * Source     /proc/self/exe (proc(5)); the build tree and meson.build's install directories.
 */
#pragma once

#include <limits.h>

/* lazyrun-image: beside this executable (build tree; or this is it), else ../libexec/lazyrun/. */
int program_find_image(char ret[static PATH_MAX]);

/* lazyrun itself, from either executable. */
int program_find_lazyrun(char ret[static PATH_MAX]);
