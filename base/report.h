/* report: the one place where the text of an error is written.
 *
 * Ownership  Nothing is handed over; texts are copied.
 * Units      -
 * Errors     fail() returns -err, so that "return fail(EBADMSG, ...)" reads as one step.
 * Threads    A capture and the "was anything reported" mark belong to the calling thread.
 * Source     docs of the project's style: the text is written once, where the cause is understood.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REPORT_TEXT_SIZE 2048

/* The program's name before each line ("lazyrun"), set once before threads start. */
void report_init(const char *program);

/* Reports one error as a line on standard error, or into this thread's capture. `err` is positive. */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line for the user or the log that is not an error. Goes to standard error. */
void report_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether fail() was called in this thread since report_forget(). */
bool report_any(void);
void report_forget(void);

/* From here on fail() of this thread fills `text` (REPORT_TEXT_SIZE bytes; the first text stays,
 * later ones follow as further lines) instead of writing. NULL ends the capture. Returns the one before, for
 * report_capture_again(), which goes on with it. */
char *report_capture(char *text);
void report_capture_again(char *text);
