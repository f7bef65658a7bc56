"""How to use each client: one module for each, which needs that client and the standard library.

A module has some of the functions below; what is missing is a scenario that the client cannot do,
and the module says why in ``CANNOT``, a dictionary from the function's name to the reason (or one
reason for all). Each takes a ``Run`` (see ``run.py``) and may be a coroutine function, which is
then run by ``asyncio.run()``. It is called twice in a process: the first, small, run warms up.
What several modules have in common is in ``asynchronous.py`` and ``synchronous.py``: no message
costs a client more because of that.

    publish(run)        publish run.count messages, with at most run.window unacknowledged
    receive(run)        subscribe to run.topic, and count run.count messages
    round_trips(run)    publish one message, wait until it has come back, note the time, repeat
    bursts(run)         publish run.burst messages at once, note the time each takes to come back
    connects(run)       connect and disconnect run.count times, one after the other
    idle(run)           hold run.count connected clients in this process, when run.stop() is called
    dispatch(run)       a handler for each of run.filters; count run.count messages
    drain(run)          queue run.count messages while there is no connection, then connect
    echo(run)           publish run.count messages to oneself, with run.window on their way

Between ``run.start()`` and ``run.stop()`` it counts. With TLS there is ``run.ca_file``.
``run.buffer`` messages may wait for the program where a client wants a limit for that. For
``drain`` a client that has to be connected before is cut off by ``run.cut()`` and let in again by
``run.restore()``; the broker has kept its session.
"""
