/* fail() of a thread fills a text as long as that is captured. */
#include "base/beside.h"

#include <string.h>

#include "base/thread.h"

static int captured(int (*work)(void *argument), void *argument, char text[static REPORT_TEXT_SIZE])
{
	char *outer = report_capture(text);
	int r = work(argument);

	report_capture_again(outer);
	return r;
}

static void *run(void *argument)
{
	struct beside *b = argument;

	b->result = captured(b->work, b->argument, b->text);
	return NULL;
}

void beside_begin(struct beside *b, int (*work)(void *argument), void *argument)
{
	*b = (struct beside){.work = work, .argument = argument};
	b->running = thread_start(&b->thread, run, b) == 0;
	if (!b->running)
		run(b);
}

int beside_end(struct beside *b)
{
	if (b->running)
		pthread_join(b->thread, NULL);
	b->running = false;
	return b->result;
}

int beside_report(struct beside *b)
{
	int r = beside_end(b);

	return r < 0 && b->text[0] ? fail(-r, "%s", b->text) : r;
}

void beside_note(const char *what, int (*work)(void *argument), void *argument)
{
	char text[REPORT_TEXT_SIZE], errno_text[128];
	int r = captured(work, argument, text);

	if (r < 0)
		report_note("%s: %s", what, text[0] ? text : strerror_r(-r, errno_text, sizeof(errno_text)));
}
