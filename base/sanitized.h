/* sanitized: whether this program is built with address or thread sanitizer, which map terabytes and look at themselves.
 *
 * Ownership  -
 * Units      SANITIZED is 0 or 1.
 * Errors     -
 * Threads    -
 * Source     gcc's __SANITIZE_ADDRESS__, clang's __has_feature.
 */
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(SANITIZED)
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
