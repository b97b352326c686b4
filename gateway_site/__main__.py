from gateway_site.command_line import main

main()
