/* Preloaded into a server: every fsync takes SLOW_DISK_MS, as on a busy disk. */
#include <stdlib.h>
#include <time.h>

int fdatasync(int file)
{
    const char *slow = getenv("SLOW_DISK_MS");
    long ms = slow ? atol(slow) : 0;
    struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
    (void)file;
    nanosleep(&pause, NULL);
    return 0;
}

int fsync(int file)
{
    return fdatasync(file);
}
