/* Lets one program's wall clock start anywhere and run at any rate, by LD_PRELOAD.
 *
 * CLOCK_REALTIME (clock_gettime, gettimeofday, time) is computed from three numbers in the file named by CLOCK_SHIM_FILE:
 *
 *   ORIGIN SHOWN RATE      seconds of CLOCK_MONOTONIC, the Unix time shown at that moment, seconds shown a second
 *
 * The file is read at every call, so replacing it (by rename) makes the clock jump or change its pace in all processes at once. Without the
 * file the clock is the machine's. CLOCK_MONOTONIC is untouched: sleeps, deadlines and exposures last as long as ever.
 *
 *   cc -O2 -Wall -shared -fPIC -o clock_shim.so clock_shim.c
 *   CLOCK_SHIM_FILE=$PWD/clock LD_PRELOAD=$PWD/clock_shim.so PROGRAM ...
 *
 * Not moved: file times (the kernel sets them), the kernel's own timers on CLOCK_REALTIME, programs that do not go through libc.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* system calls, not libc: a shim that opens files through libc would meet other shims */
static int read_pace(double *origin, double *shown, double *rate)
{
    char text[128] = {0}, *rest = text;
    const char *path = getenv("CLOCK_SHIM_FILE");
    if (!path)
        return 0;
    long file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (got <= 0)
        return 0;
    *origin = strtod(rest, &rest);
    *shown = strtod(rest, &rest);
    *rate = strtod(rest, &rest);
    return 1;
}

int clock_gettime(clockid_t clock, struct timespec *result)
{
    double origin, shown, rate;
    struct timespec steady;
    int status = syscall(SYS_clock_gettime, clock, result);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && read_pace(&origin, &shown, &rate)) {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
        double moment = shown + (steady.tv_sec - origin + steady.tv_nsec / 1e9) * rate;
        result->tv_sec = (time_t)moment;
        result->tv_nsec = (long)((moment - (double)result->tv_sec) * 1e9);
    }
    return status;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}
