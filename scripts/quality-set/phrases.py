# SPDX-License-Identifier: Apache-2.0
"""Phrases of which poor text is made, written for this project."""

MENU = """Home|About|About Us|Contact|Contact Us|Login|Sign up|Register|My Account|Cart (0)|Search|FAQ
Help|Blog|News|Products|Services|Careers|Press|Sitemap|Privacy Policy|Terms of Service|Wishlist
Cookie Settings|Facebook|Twitter|Instagram|RSS|Share|Print|Back to top|Next »|« Previous|Downloads
Skip to content|Toggle navigation|Menu|Categories|Tags|Archives|Recent Posts|Popular|Subscribe
English|Deutsch|Français|Log in|Log out|Sign in|Support|Forum|Gallery|Events|Calendar|Team|Partners
Shop|Store|Sale|New Arrivals|Brands|Gift Cards|Track Order|Returns|Shipping|Checkout|Donate|Jobs
Site map|Legal|Imprint|Accessibility|Feedback|Advertise|Newsletter|YouTube|LinkedIn|Pinterest
Email|Comments|Reply|Edit|Delete|View all|See more|Show less|Load more|Close|Open|Filter|Sort by
Page 1|Page 2|Last|First|Mobile|Desktop|Apps|Pricing|Features|Docs|API|Status|Community"""

BOILERPLATE = """We use cookies to improve your experience on our site.
By continuing to browse you agree to our use of cookies.
Accept all cookies. Reject all. Manage your preferences.
This website uses cookies to ensure that you get the best experience.
We and our partners store information on a device, such as cookies, to show personalised ads.
You can change your cookie settings at any time. Learn more.
Please enable JavaScript to view this page.
JavaScript is disabled in your browser. Some features of this site will not work.
Your browser is out of date. Please update your browser.
This site works best with the newest version of Chrome, Firefox or Safari.
Sign up for our newsletter and never miss an update!
Enter your email address to subscribe and receive notifications of new posts.
Get the latest news delivered straight to your inbox.
Join our mailing list for exclusive offers and discounts.
Click here to unsubscribe from this list.
You are receiving this email because you signed up on our website.
This page requires that you log in. Forgot your password?
Already have an account? Sign in. New here? Create an account.
Invalid username or password. Please try again.
You must be logged in to post a comment.
Your comment is awaiting moderation.
Share this: Click to share on Twitter (Opens in new window)
Like this: Like Loading...
Share on Facebook. Share by email. Copy link. Print this page.
Leave a reply. Your email address will not be published. Required fields are marked *
Notify me of follow-up comments by email. Notify me of new posts by email.
Free shipping on orders over $50. Terms and conditions apply.
Add to cart. In stock. Only 3 left! Usually ships within 24 hours.
Customers who bought this item also bought. Be the first to review this product.
Price excludes tax and shipping. Sale! Was $29.99, now $19.99. Quick view. Compare.
Select options. Choose a size. Quantity. Add to wishlist. Out of stock. Notify me.
All trademarks are property of their respective owners.
Product names, logos and brands are used for identification only.
The content of this site may not be reproduced without prior written permission.
No part of this website may be copied without the consent of the publisher.
Use of this site constitutes acceptance of our Terms of Use and Privacy Policy.
The information on this website is provided as is without warranty of any kind.
This material is for general information only and is no legal, medical or financial advice.
We may earn a commission when you buy through links on our site.
Sponsored content. Advertisement. Advertise with us.
Advertisement. Scroll to continue. Skip ad. Ad blocker detected.
Page not found. The page you are looking for might have been removed.
Sorry, nothing matched your search terms. Please try again with other keywords.
404 Not Found. Error 503 Service Unavailable. Access denied.
Sorry, something went wrong. Please reload the page and try again later.
The requested URL was not found on this server.
You do not have permission to access this resource.
Loading, please wait...
Checking your browser before accessing the site. This may take a few seconds.
Please verify that you are a human. Complete the security check below.
Posted in Uncategorized. Tagged with. 0 Comments. 12 views. 3 likes.
Posted by admin on Monday. Filed under General. Permalink. Bookmark the permalink.
By Staff Writer. Published 3 days ago. Updated 2 hours ago. 5 min read.
Download our app on the App Store and get it on Google Play.
Follow us on social media for the latest updates. Connect with us.
Copyright. All rights reserved. Powered by. Designed by.
Theme by. Proudly powered by. Built with. Hosted by.
This site is protected by reCAPTCHA and the Privacy Policy and Terms of Service apply.
Related posts. You may also like. Recommended for you. Trending now.
More from this author. Most read. Most popular. Editor's picks. Top stories.
Subscribe today and get 20% off your first order! Limited time offer.
Start your free trial today. No credit card required. Cancel anytime.
You have reached your limit of free articles. Subscribe to continue reading.
Last updated. Page 1 of 12. First. Previous. Next. Last.
Showing 1 to 20 of 364 results. Sort by relevance. Items per page.
Thank you for visiting. Please come back soon.
Your feedback is important to us. Was this page helpful? Yes. No.
Contact us by phone or fill in the form below and we will get back to you.
Opening hours: Monday to Friday 9am to 5pm. Closed on public holidays.
Send us a message. Your name. Your email. Subject. Message. Submit. Reset.
Jump to navigation. Skip to main content. Open menu. Close menu. Toggle search.
Select your country. Choose your language. Currency: USD.
File a complaint. Report this page. Report an error. Suggest an edit.
Thread starter. Joined. Messages. Reaction score. Quote. Reply. Multi-quote. Go to page.
You cannot post new topics in this forum. You cannot edit your posts in this forum.
Who is online: users browsing this forum: no registered users and 3 guests.
It is currently Sunday. All times are UTC. Delete all board cookies. Board index.
Image may contain. Click to enlarge. Photo credit. View gallery. Play video. Mute.
Your download will start in a few seconds. If it does not, click here.
Map data. Terms. Report a map error. Get directions. View larger map.""".split("\n")

# {t} is a thing to sell and {p} a place.
SALES = """Looking for the best {t} in {p}? You have come to the right place!
Why choose our {t}? Because we offer quality {t} at prices you will love.
Buy {t} online at the lowest price. Cheap {t} for sale, best {t} {p}.
Order {t} now, no prescription needed, fast worldwide delivery, money back.
Our {t} experts offer affordable {t} services with guaranteed results.
Hurry! This {t} special ends soon. Act today and save up to {n}%!
Top 10 {t} tips: the ultimate {t} guide for beginners.
How to choose a {t}? Read our honest {t} comparison and see which {t} wins.
If you need {t}, our {t} is the best {t} for all your {t} needs.
Hire a professional {t} company that {p} trusts. Fully insured {t}.
Click here to get your free {t} quote today! Call 1-800-555-0{n}.
Earn money from home with {t}! Join thousands of happy {t} members. Risk free!
{t} reviews - {t} near me - {t} coupons - {t} discount code
{p} {t} | {t} {p} | cheap {t} {p} | {t} shop {p}
Many people ask about {t}. When it comes to {t}, {t} matters most.
Congratulations, you were selected to receive a {t} worth ${n}00!!!
Dear friend, I have a confidential business proposal about {t} of US${n},000,000.
You have won! Reply with your name, address and bank details to claim your {t}.
Lose weight fast with {t}: doctors hate this one weird trick.
100% natural {t}, no side effects, results in {n} days or your money back.
Make ${n}00 a day with this simple {t} system. No experience needed.
Refinance your {t} at the lowest rates. Bad credit? No problem! Apply now.
Unlimited {t} for only $9.95 a month. Sign up today, this offer expires at midnight.
We are the leading provider of innovative {t} solutions that empower your business.
Our team of highly qualified {t} professionals is committed to your complete satisfaction.
Increase your {t} traffic by {n}%! Get thousands of visitors with our {t} software.
Do not miss out on this once in a lifetime {t} opportunity!
Visit our website now for more information about {t} and other great products.
In today's fast-paced world, {t} is more important than ever. That is why you need {t}.
Are you tired of {t} that does not work? Try our new and improved {t} today.
Boost your {t} with these amazing {t} hacks that nobody tells you about.
{n} reasons why {t} will change your life forever. Number 7 will shock you!
You will not believe what this {t} from {p} did next.
Get rich quick with {t}. Financial freedom is only one click away.
Free {t}! Absolutely no cost or obligation. Just pay shipping and handling.
This is not spam. You received this message because you opted in to {t} offers.
To be removed from our {t} list, reply with REMOVE in the subject line.
Best {t} deals in {p}: compare {t} prices, read {t} ratings, buy {t} now.
Welcome to {t} {p}, your one-stop shop for {t}, {t} parts and {t} accessories.
Contact our friendly {t} staff today to book your {t} appointment in {p}.""".split("\n")

COMMENTS = """Great post! Thanks for sharing.
Nice blog, very informative, keep it up!!
I really enjoy reading your website, bookmarked!
First!
lol
+1
this ^^^
Hello there! I could have sworn I have visited this {t} blog before.
check my site for {t} http://{t}{n}.example/?ref={n}
I earn ${n} a week from home, just visit www.{t}-cash.example
Wow, that's what I was searching for, what a stuff! present here at this blog.
Reply · Like · 3h
Anonymous says:
Posted by admin on
Report abuse""".split("\n")
