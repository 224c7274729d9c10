/* replace: has a running server's supervisor execute this program in its place, containers running.
 *
 * Ownership  -
 * Units      -
 * Errors     Reported. No server: a line on standard output and 0.
 * Threads    One.
 * Source     base/message.h, MESSAGE_REPLACE; fs/kept.h.
 */
#pragma once

/* Default paths when NULL. Returns when the new program has taken over. */
int replace_server(const char *store_path, const char *run_path);
