/* transport_send: what a request sends: its method and its body.
 *
 * Ownership  Borrows the body of the request, which lives until it ends.
 * Units      Bytes.
 * Errors     Kept in reply.failure and reply.text.
 * Threads    Only libcurl's thread.
 * Source     libcurl: CURLOPT_UPLOAD, CURLOPT_SEEKFUNCTION.
 */
#pragma once

#include "fetch/transport_body.h"

/* Tells the easy handle of `b` how to send. */
void transport_send_set(struct transport_body *b);
