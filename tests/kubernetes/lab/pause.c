/* Holds the namespaces of a Pod until it is told to end. */
#include <signal.h>
#include <unistd.h>

static void end(int number) { _exit(number == SIGKILL); }

int main(void) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  for (;;) pause();
}
