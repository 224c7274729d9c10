/* Error lines: written to standard error with the program's name, or kept for who asked. */
#include "base/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *program_name = "lazyrun";
static _Thread_local bool reported;
static _Thread_local char *capture;

void report_init(const char *program)
{
	program_name = program;
}

/* One write(2) a line, so that lines of several processes do not mix. Control characters come from
 * registries and tars; a terminal must not obey them. */
static void write_line(char *text, size_t size)
{
	char line[REPORT_TEXT_SIZE + 64];
	int n;

	for (size_t i = 0; i < size; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t') || text[i] == 127)
			text[i] = '?';
	n = snprintf(line, sizeof(line), "%s: %s\n", program_name, text);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* there is nowhere left to say it */
}

int fail(int err, const char *fmt, ...)
{
	char text[REPORT_TEXT_SIZE];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	reported = true;
	if (!capture) {
		write_line(text, strlen(text));
		return -err;
	}
	size_t used = strlen(capture);
	snprintf(capture + used, REPORT_TEXT_SIZE - used, "%s%s", used ? "\n" : "", text);
	return -err;
}

void report_note(const char *fmt, ...)
{
	char text[REPORT_TEXT_SIZE];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	write_line(text, strlen(text));
}

bool report_any(void)
{
	return reported;
}

void report_forget(void)
{
	reported = false;
}

char *report_capture(char *text)
{
	char *before = capture;

	capture = text;
	if (text)
		text[0] = '\0';
	return before;
}

void report_capture_again(char *text)
{
	capture = text;
}
